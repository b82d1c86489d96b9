package operator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/config"
)

// The oldest nats-server that topology apply accepts, in each line of releases.
var (
	oldestBroker    = [3]int{2, 14, 10}
	oldestOfNewLine = [3]int{2, 15, 3}
)

// whyOldest is the reason: before 2.14.10 and 2.15.3 the JetStream API answered to any
// reply subject.
const whyOldest = "before it, a user who may publish to a stream or take from a consumer can have the broker delete any stream, by a reply subject"

// connectTimeout is how long the broker may take for its first answer. A person waits, so
// a command does not retry for ever as a role does.
const connectTimeout = 5 * time.Second

// The inbox prefixes of this command's four users at the broker. None may subscribe to
// anything else.
const (
	backupInbox   = "_INBOX_backup"
	forgetInbox   = "_INBOX_forget"
	topologyInbox = "_INBOX_topology"
	operatorInbox = "_INBOX_operator"
)

// connect opens a connection whose replies arrive on inbox.
func connect(ctx context.Context, n config.NATS, inbox string) (*nats.Conn, error) {
	timeout := connectTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	options := append(n.Login(), nats.Name("arauto-operator"), nats.Timeout(timeout), nats.CustomInboxPrefix(inbox))
	conn, err := nats.Connect(n.URL, options...)
	if advice := n.Advice(err); err != nil && advice != "" {
		return nil, fmt.Errorf("connect to broker: %w; %s", err, advice)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	return conn, nil
}

// checkVersion refuses a broker whose users could delete streams without the permission.
// In a cluster it checks the server that it is connected to. A release candidate is older
// than its release.
func checkVersion(version string) error {
	var numbers [3]int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &numbers[0], &numbers[1], &numbers[2]); err != nil {
		return fmt.Errorf("read broker version %q: %w", version, err)
	}
	oldest := oldestBroker
	if slices.Equal(numbers[:2], oldestOfNewLine[:2]) {
		oldest = oldestOfNewLine
	}
	_, _, candidate := strings.Cut(version, "-")
	if order := slices.Compare(numbers[:], oldest[:]); order > 0 || order == 0 && !candidate {
		return nil
	}
	return fmt.Errorf("nats-server %s is too old, run %d.%d.%d or newer: %s", version, oldest[0], oldest[1], oldest[2], whyOldest)
}
