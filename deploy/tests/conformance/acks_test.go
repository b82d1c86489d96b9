package conformance_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// ackPrefix begins the subjects on which consumers take acknowledgements.
const ackPrefix = "$JS.ACK."

// acked is a consumer, the user that reads with it, and a subject that it delivers.
type acked struct{ stream, consumer, user, delivers string }

// ackedConsumers are all consumers of the tests' topology and of the documented services.
func ackedConsumers(t *testing.T) []acked {
	t.Helper()
	readers := map[string]acked{
		subject.Notifications: {user: "lookup", delivers: "notifications.sandbox.default.p"},
		subject.LookupRetries: {user: "lookup", delivers: "lookup.due.sandbox.default.h"},
		subject.Statuses:      {user: "normalize", delivers: "statuses.sandbox.default.p"},
		subject.Orders:        {user: "expect", delivers: "orders.sandbox.default.p.o.paid"},
		subject.Advisories:    {user: "sweep", delivers: "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.A.B"},
	}
	all := []acked{
		{subject.Orders, biller, biller, "orders.sandbox.default.p.o.paid"},
		{subject.Outcomes, ledger, ledger, "expectations.sandbox.default.p.met"},
	}
	for _, c := range topology.Consumers(topology.Settings{Providers: []string{"sandbox"}}) {
		reader, ok := readers[c.Stream]
		if !ok {
			t.Fatalf("nothing is known of who reads %s", c.Stream)
		}
		all = append(all, acked{c.Stream, c.Durable, reader.user, reader.delivers})
	}
	return all
}

// listens are the subjects on which nats-server 2.15.3 takes acknowledgements of a consumer, in
// both formats, whichever its deliveries name (addConsumerWithAssignment of server/consumer.go).
func (a acked) listens() []string {
	return []string{
		ackPrefix + a.stream + "." + a.consumer + ".*.*.*.*.*",
		ackPrefix + "_.accounthash." + a.stream + "." + a.consumer + ".*.*.*.*.>",
	}
}

// TestAcksReachTheOwnConsumersOnly compares what each user may publish, and what the account of
// the streams exports, with the subjects on which each consumer takes acknowledgements.
func TestAcksReachTheOwnConsumersOnly(t *testing.T) {
	t.Parallel()
	path := confWithDocumentedUsers(t)
	consumers := ackedConsumers(t)
	for _, c := range consumers {
		for _, on := range c.listens() {
			for user, granted := range publishable(t, path) {
				reached := slices.ContainsFunc(granted, func(p string) bool { return server.SubjectsCollide(p, on) })
				if reached != (user == c.user) {
					t.Errorf("%s may acknowledge what %s has delivered (on %s): %v", user, c.consumer, on, reached)
				}
			}
		}
	}
	// An export names the stream that its consumers read, with the service at its position.
	for exported, position := range accountsOf(t, path)[streamAccount].named {
		if !strings.HasPrefix(exported, ackPrefix) {
			continue
		}
		for _, c := range consumers {
			for _, on := range c.listens() {
				if server.SubjectsCollide(exported, on) && strings.Split(on, ".")[position-1] != c.consumer {
					t.Errorf("the export %s names at %d no consumer of %s", exported, position, on)
				}
			}
		}
	}
}

// TestAcksCrossNoBoundary has every consumer deliver a message, and every other user acknowledge
// it and ask for the next one, on each subject that the broker would take for that and that ends
// as the user's own acknowledgements may.
func TestAcksCrossNoBoundary(t *testing.T) {
	t.Parallel()
	b := startFile(t, confWithDocumentedUsers(t))
	plant(t, b)
	f := &flow{Bench: testbench.NewBench(t, nil)}
	consumers := ackedConsumers(t)
	tails, held := []string{"1.1.1.1.0"}, map[string]jetstream.Msg{}
	for _, c := range consumers {
		tails = append(tails, c.stream+"."+c.consumer+".1.1.1", c.stream+".1.1.1.0") // The second one has the sequences of the message.
		held[c.consumer] = f.deliver(b, c)
	}
	given := map[string]func() int{}
	for _, user := range append(slices.Clone(roles), biller, ledger, auditor) {
		given[user] = f.acknowledge(b, user, consumers, tails)
	}
	_, js := b.as(inspector)
	for _, c := range consumers {
		// A consumer takes acknowledgements in turn, and answers none of what is not pending.
		ctx, stop := context.WithTimeout(f.Ctx, 20*time.Second)
		if err := held[c.consumer].DoubleAck(ctx); err != nil {
			t.Errorf("what %s has delivered was acknowledged by another user: %v", c.consumer, err)
		}
		stop()
		consumer, err := js.Consumer(f.Ctx, c.stream, c.consumer)
		f.Must(err)
		if delivered := consumer.CachedInfo().Delivered.Consumer; delivered != 1 {
			t.Errorf("%s has delivered %d messages to other users", c.consumer, delivered-1)
		}
	}
	for user, count := range given {
		if got := count(); got != 0 {
			t.Errorf("%s has been given %d messages", user, got)
		}
	}
}

// acknowledge is a user's attack on the consumers of others. It returns what counts the messages
// that the user was given.
func (f *flow) acknowledge(b *broker, user string, consumers []acked, tails []string) func() int {
	f.T.Helper()
	nc, _ := b.connect(user, silent)
	inbox := "_INBOX_" + user + ".attack" // Its own answers to the test go elsewhere.
	answers, err := nc.SubscribeSync(inbox + ".>")
	f.Must(err)
	for _, c := range consumers {
		if c.user == user {
			continue
		}
		for _, tail := range tails {
			on := ackPrefix + c.stream + "." + c.consumer + "." + tail
			f.Must(nc.PublishMsg(&nats.Msg{Subject: on, Reply: inbox + "." + c.consumer, Data: []byte(`+NXT {"batch":1,"no_wait":true}`)}))
			f.Must(nc.Publish(on, nil))
		}
	}
	f.Must(nc.FlushWithContext(f.Ctx))
	return func() int {
		f.T.Helper()
		f.Must(nc.FlushWithContext(f.Ctx))
		count, _, err := answers.Pending()
		f.Must(err)
		return count
	}
}

// deliver stores messages for a consumer, and has its reader take one.
func (f *flow) deliver(b *broker, c acked) jetstream.Msg {
	f.T.Helper()
	_, inspects := b.as(inspector)
	for range 2 {
		_, err := inspects.Publish(f.Ctx, c.delivers, nil)
		f.Must(err)
	}
	_, js := b.as(c.user)
	consumer, err := js.Consumer(f.Ctx, c.stream, c.consumer)
	f.Must(err)
	m, err := consumer.Next(jetstream.FetchContext(f.Ctx))
	f.Must(err)
	return m
}

// TestServicesOfBeforeAreRewritten has the account of a service with the acknowledgements of an
// earlier version, which reached every consumer. The broker refuses it until the command of
// OPERATING.md has rewritten it.
func TestServicesOfBeforeAreRewritten(t *testing.T) {
	t.Parallel()
	path := confWithDocumentedUsers(t)
	services := filepath.Join(filepath.Dir(path), "subscribers.conf")
	text, err := os.ReadFile(services)
	testbench.Must(t, err)
	before := strings.ReplaceAll(string(text), ackPrefix+"_.*.", ackPrefix+"*.*.")
	testbench.Must(t, os.WriteFile(services, []byte(before), 0o600))
	if _, err := server.ProcessConfigFile(path); err == nil || !strings.Contains(err.Error(), server.ErrServiceImportAuthorization.Error()) {
		t.Errorf("the broker takes the accounts of before: %v", err)
	}
	command := exec.CommandContext(t.Context(), "sh", "-c", strings.TrimSpace(fenced(t, "deploy/OPERATING.md", "sh services")))
	command.Dir = filepath.Dir(path)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	after, err := os.ReadFile(services)
	testbench.Must(t, err)
	if string(after) != string(text) {
		t.Errorf("the command has written\n%s", after)
	}
}
