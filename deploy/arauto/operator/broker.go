package operator

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/process/config"
)

// oldestBroker is the oldest nats-server that topology apply accepts.
var oldestBroker = [3]int{2, 14, 7}

// whyOldest is the reason: parked look-ups stand on message schedules.
const whyOldest = "before it, message schedules may fire twice, too early or never after a restart of the broker, and every parked look-up is one"

// reach is how long the broker may take to answer the first time. A person
// waits, so there is no endless trying as in the roles.
const reach = 5 * time.Second

// The inboxes of this command's two users at the broker; neither may subscribe
// to anything else.
const (
	topologyInbox = "_INBOX_topology"
	operatorInbox = "_INBOX_operator"
)

// connect opens a connection for one command, whose answers arrive on inbox.
func connect(ctx context.Context, n config.NATS, inbox string) (*nats.Conn, error) {
	timeout := reach
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	options := []nats.Option{
		nats.Name("arauto-operator"),
		nats.Timeout(timeout),
		nats.CustomInboxPrefix(inbox),
	}
	if n.User != "" {
		options = append(options, nats.UserInfo(n.User, n.Password.Reveal()))
	}
	if n.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(n.CredentialsFile))
	}
	if n.CAFile != "" {
		options = append(options, nats.RootCAs(n.CAFile))
	}
	conn, err := nats.Connect(n.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	return conn, nil
}

// checkVersion refuses a broker that is too old to hold parked look-ups. In a
// cluster it sees the server that it is connected to.
func checkVersion(version string) error {
	oldest := fmt.Sprintf("%d.%d.%d", oldestBroker[0], oldestBroker[1], oldestBroker[2])
	numbers, err := numbersOf(version)
	if err != nil {
		return fmt.Errorf("read broker version %q: %w", version, err)
	}
	for i, want := range oldestBroker {
		switch have := numbers[i]; {
		case have > want:
			return nil
		case have < want:
			return fmt.Errorf("nats-server %s is too old, run %s or newer: %s", version, oldest, whyOldest)
		}
	}
	return nil
}

// numbersOf reads 2.15.2 and also 2.15.2-RC.1, whose last part says nothing
// about what it holds.
func numbersOf(version string) ([3]int, error) {
	release, _, _ := strings.Cut(version, "-")
	parts := strings.Split(release, ".")
	var numbers [3]int
	if len(parts) != len(numbers) {
		return numbers, fmt.Errorf("it has %d parts instead of %d", len(parts), len(numbers))
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil {
			return numbers, fmt.Errorf("part %d is not a number", i+1)
		}
		numbers[i] = n
	}
	return numbers, nil
}
