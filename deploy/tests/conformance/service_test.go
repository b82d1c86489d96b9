package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/schemas/subscriber"
	"arauto/workers/operator"
)

// The users that the documents show.
const (
	biller  = "billing"
	ledger  = "ledger" // It reads outcomes.
	auditor = "auditor"
)

// TestDocumentedUsersNeedExactlyTheirPermissions does with the users and the
// consumer of the documents what is said of them there, beside the users of
// nats.conf. It is TestRealRolesNeedExactlyTheirPermissions for them.
func TestDocumentedUsersNeedExactlyTheirPermissions(t *testing.T) {
	t.Parallel()
	path := confWithDocumentedUsers(t)
	published, subscribed := map[string][]string{}, map[string][]string{}
	for _, v2 := range []bool{false, true} { // In turn: what both used is added up.
		b := startFile(t, path, func(o *server.Options) {
			o.FeatureFlags = map[string]bool{server.FeatureFlagJsAckFormatV2: v2}
		})
		serve(t, b)
		refuse(t, b)
		readOutcomes(t, b)
		audit(t, b)
		for _, user := range []string{biller, ledger, auditor} {
			p, s := b.used(user)
			published[user], subscribed[user] = append(published[user], p...), append(subscribed[user], s...)
		}
	}
	options, err := server.ProcessConfigFile(path)
	testbench.Must(t, err)
	for _, u := range options.Users {
		if !slices.Contains([]string{biller, ledger, auditor}, u.Username) {
			continue
		}
		unused(t, u.Username, u.Permissions.Publish.Allow, published[u.Username])
		unused(t, u.Username, u.Permissions.Subscribe.Allow, subscribed[u.Username])
	}
}

func unused(t *testing.T, user string, granted, used []string) {
	t.Helper()
	for _, pattern := range granted {
		if !slices.ContainsFunc(used, func(s string) bool { return covers(pattern, s) }) {
			t.Errorf("the documents let %s use %s, which it does not need", user, pattern)
		}
	}
}

func TestDocumentedUsersCannotDoMore(t *testing.T) {
	t.Parallel()
	b := startFile(t, confWithDocumentedUsers(t))
	for _, p := range []probe{
		{biller, accountInfo, "it is imported for the server's sake"},
		{biller, "orders.sandbox.default.p.o.paid", "only normalize judges what is a transition"},
		{biller, "$JS.API.CONSUMER.CREATE.ORDERS." + biller, "it could have events published on any subject"},
		{biller, "$JS.API.CONSUMER.DELETE.ORDERS." + biller, "what it has not acknowledged is the operator's to give up"},
		{biller, "$JS.API.CONSUMER.RESET.ORDERS.shipping", "that is another service's"},
		{biller, "$JS.API.CONSUMER.MSG.NEXT.ORDERS.shipping", "that is another service's"},
		{biller, "$JS.ACK.ORDERS.shipping.1.1.1.1.0", "that is another service's"},
		{biller, "$JS.ACK.NOTIFICATIONS.lookup-sandbox.ORDERS." + biller + ".1.1.1", "it would be given a webhook"},
		{biller, "$JS.ACK.ORDERS.expect.ORDERS." + biller + ".1.1.1", "it would be given an event of the role"},
		{biller, "$JS.ACK._.hash.ORDERS.shipping.1.1.1.1.0", "that is another service's"},
		{biller, "$JS.API.CONSUMER.RESET.STATUSES.normalize", "it would have observations folded again"},
		{biller, "$JS.API.STREAM.MSG.GET.DEAD_LETTERS", "dead letters may say more than events do"},
		{biller, "$JS.API.STREAM.MSG.DELETE.ORDERS", "the order log is the state"},
		{biller, "dead.subscriber.shipping.sandbox.default.p", "that is another service's"},
		{biller, "dead.ours.lookup.sandbox.default.p", "that stage is not its own"},
		{biller, "$JS.API.CONSUMER.MSG.NEXT.STATUSES.normalize", "those are for normalize"},
		{biller, "$JS.API.STREAM.PURGE.ORDERS", "the order log is the state"},
		{biller, "$JS.API.STREAM.MSG.GET.OUTCOMES", "it reads events"},
		{biller, "$JS.API.CONSUMER.MSG.NEXT.OUTCOMES." + ledger, "that is another service's"},
		{ledger, "expectations.sandbox.default.p.met", "only the role judges"},
		{ledger, "expect.sandbox.default.p", "it announces nothing"},
		{ledger, "$JS.API.CONSUMER.CREATE.OUTCOMES." + ledger, "it could have outcomes published on any subject"},
		{ledger, "$JS.API.CONSUMER.DELETE.OUTCOMES." + ledger, "what it has not acknowledged is the operator's to give up"},
		{ledger, "$JS.API.CONSUMER.MSG.NEXT.OUTCOMES.reports", "that is another service's"},
		{ledger, "$JS.API.CONSUMER.RESET.OUTCOMES.reports", "that is another service's"},
		{ledger, "$JS.ACK.OUTCOMES.reports.1.1.1.1.0", "that is another service's"},
		{ledger, "$JS.ACK.STATUSES.normalize.OUTCOMES." + ledger + ".1.1.1", "it would be given an observation"},
		{ledger, "$JS.API.CONSUMER.MSG.NEXT.ORDERS." + ledger, "it reads outcomes"},
		{ledger, "$JS.API.STREAM.MSG.GET.ORDERS", "it reads outcomes"},
		{ledger, "$JS.API.STREAM.MSG.GET.EXPECTATIONS", "what is due is not its to read"},
		{ledger, "$JS.API.STREAM.MSG.DELETE.OUTCOMES", "what was published stays"},
		{ledger, "$JS.API.STREAM.PURGE.OUTCOMES", "what was published stays"},
		{ledger, "dead.subscriber." + ledger + ".sandbox.default.p", "it refuses no event"},
		{ledger, accountInfo, "it is imported for the server's sake"},
		{auditor, "audit.redrive", "the trail is the operator's"},
		{auditor, "$JS.API.STREAM.PURGE.AUDIT", "the trail stays"},
		{auditor, "$JS.API.STREAM.MSG.GET.ORDERS", "it needs no event"},
	} {
		nc, _ := b.connect(p.role, silent)
		testbench.Must(t, nc.Publish(p.subject, nil))
		refused(t, nc, p)
	}
}

// serve reads events as the README tells a service to. An event that the guard
// of ORDERS refused must not be among them, although it was published.
func serve(t *testing.T, b *broker) {
	t.Helper()
	f := &flow{Bench: testbench.NewBench(t, nil)}
	ctx, must := f.Ctx, f.Must
	f.applyTopology(b)
	f.letServicesSubscribe(b)
	watching, _ := b.as("viewer")
	heard := f.subscribe(watching, "orders.>")

	_, normalize := b.as("normalize")
	const first, refusedOne = "orders.sandbox.default.p.o.pending", "orders.sandbox.default.p.o.paid"
	const guard = "orders.sandbox.default.p.>"
	_, err := normalize.Publish(ctx, first, nil, jetstream.WithExpectLastSequenceForSubject(0, guard))
	must(err)
	if _, err = normalize.Publish(ctx, refusedOne, nil, jetstream.WithExpectLastSequenceForSubject(0, guard)); err == nil {
		t.Fatal("the guard let a second first event pass")
	}

	_, js := b.as(biller)
	consumer, err := js.Consumer(ctx, subject.Orders, biller)
	must(err)
	m, err := consumer.Next(jetstream.FetchContext(ctx))
	must(err)
	must(m.DoubleAck(ctx))
	info, err := consumer.Info(ctx)
	must(err)
	again, err := js.ResetConsumerToSequence(ctx, subject.Orders, biller, 1)
	must(err)
	repeated, err := consumer.Next(jetstream.FetchContext(ctx))
	must(err)
	must(repeated.DoubleAck(ctx))
	if again.ResetSeq != 1 || repeated.Subject() != first {
		t.Errorf("after a reset to %d the service got %s", again.ResetSeq, repeated.Subject())
	}
	orders, err := js.Stream(ctx, subject.Orders)
	must(err)
	if stored, err := orders.GetMsg(ctx, 1); err != nil || stored.Subject != first {
		t.Errorf("the service reads the stored event %v, %v", stored, err)
	}
	if m.Subject() != first || info.NumPending != 0 {
		t.Errorf("the service got %s, and %d more wait, want %s alone", m.Subject(), info.NumPending, first)
	}
	for _, want := range []string{first, refusedOne} {
		if m, err := heard.NextMsgWithContext(ctx); err != nil || m.Subject != want {
			t.Errorf("who only listens heard %v, %v, want %s: the documents warn of it", m, err, want)
		}
	}
}

// refuse has the service refuse an event with the package for subscribers, which must be
// able to store the dead letter.
func refuse(t *testing.T, b *broker) {
	t.Helper()
	ctx := testbench.Context(t)
	body, err := json.Marshal(order.Event{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Order: "o", Payment: "q", Transition: 1,
		Status: order.Paid, ProviderStatus: "paid", ObservedAt: time.Now().UTC(), Observation: 1,
	})
	testbench.Must(t, err)
	_, normalize := b.as("normalize")
	_, err = normalize.Publish(ctx, "orders.sandbox.default.q.o.paid", body)
	testbench.Must(t, err)

	_, js := b.as(biller)
	running, stop := context.WithCancel(ctx)
	refused := make(chan struct{}, 8)
	done := make(chan error, 1)
	go func() {
		done <- subscriber.Run(running, js, subscriber.Options{Consumer: biller, DeadLetters: true}, func(context.Context, subscriber.Event) error {
			refused <- struct{}{}
			return subscriber.Refuse(errors.New("no such order"))
		})
	}()
	testbench.Receive(t, "the refused event", refused)
	_, operator := b.as("operator")
	dead, err := operator.Stream(ctx, subject.DeadLetters)
	testbench.Must(t, err)
	testbench.Until(t, "the dead letter is stored", func() bool {
		raw, err := dead.GetLastMsgForSubject(ctx, "dead.subscriber."+biller+".>")
		return err == nil && strings.Contains(string(raw.Data), "no such order")
	})
	stop()
	testbench.Must(t, <-done)
}

// readOutcomes has a service read an outcome with its consumer, again after a reset, and by its
// sequence.
func readOutcomes(t *testing.T, b *broker) {
	t.Helper()
	ctx := testbench.Context(t)
	_, operator := b.as("operator")
	_, err := operator.CreateConsumer(ctx, subject.Outcomes, topology.Subscriber(ledger))
	testbench.Must(t, err)
	const on = "expectations.sandbox.default.p.met"
	_, role := b.as("expect")
	_, err = role.Publish(ctx, on, nil)
	testbench.Must(t, err)

	_, js := b.as(ledger)
	consumer, err := js.Consumer(ctx, subject.Outcomes, ledger)
	testbench.Must(t, err)
	for range 2 {
		m, err := consumer.Next(jetstream.FetchContext(ctx))
		testbench.Must(t, err)
		testbench.Must(t, m.DoubleAck(ctx))
		if m.Subject() != on {
			t.Errorf("the service got %s", m.Subject())
		}
		_, err = js.ResetConsumerToSequence(ctx, subject.Outcomes, ledger, 1)
		testbench.Must(t, err)
	}
	outcomes, err := js.Stream(ctx, subject.Outcomes)
	testbench.Must(t, err)
	if stored, err := outcomes.GetMsg(ctx, 1); err != nil || stored.Subject != on {
		t.Errorf("the service reads the stored outcome %v, %v", stored, err)
	}
}

// TestDocumentedGoServiceCompiles builds the service of the document.
func TestDocumentedGoServiceCompiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "main.go")
	testbench.Must(t, os.WriteFile(file, []byte(fenced(t, "deploy/SUBSCRIBING.md", "go")), 0o600))
	c := exec.CommandContext(testbench.Context(t), "go", "build", "-o", filepath.Join(t.TempDir(), "service"), file)
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("go build: %v\n%s", err, out)
	}
}

// audit reads what an operator did.
func audit(t *testing.T, b *broker) {
	t.Helper()
	ctx := testbench.Context(t)
	_, operator := b.as("operator")
	if _, err := operator.Publish(ctx, "audit.redrive", []byte("who")); err != nil {
		t.Fatal(err)
	}
	_, js := b.as(auditor)
	trail, err := js.Stream(ctx, subject.Audit)
	testbench.Must(t, err)
	if m, err := trail.GetMsg(ctx, 1, jetstream.WithGetMsgSubject("audit.>")); err != nil || string(m.Data) != "who" {
		t.Errorf("the auditor reads %v, %v", m, err)
	}
}

// confWithDocumentedUsers is nats.conf with the users of the documents and their
// passwords, each where its document says.
func confWithDocumentedUsers(t *testing.T) string {
	t.Helper()
	text := passwordVariable(auditor) + " = " + password(auditor) + "\n"
	text += strings.Replace(read(t, "deploy/nats.conf"), "users: [\n", "users: [\n"+fenced(t, "deploy/OPERATING.md", "conf auditor"), 1)
	folder := t.TempDir()
	path := filepath.Join(folder, "nats.conf")
	testbench.Must(t, os.WriteFile(path, []byte(text), 0o600))
	services := documentedAccount(t) + operator.SubscriberAccount(ledger, subject.Outcomes, password(ledger))
	testbench.Must(t, os.WriteFile(filepath.Join(folder, "subscribers.conf"), []byte(services), 0o600))
	return path
}

// documentedAccount is the account of the documented service with the password of the tests.
func documentedAccount(t *testing.T) string {
	t.Helper()
	text := fenced(t, "deploy/SUBSCRIBING.md", "conf service")
	if want := operator.SubscriberAccount(biller, subject.Orders, "HASH"); text != want {
		t.Errorf("SUBSCRIBING.md shows another account than arauto subscriber add prints; want\n%s", want)
	}
	return strings.Replace(text, `"HASH"`, password(biller), 1)
}

// letServicesSubscribe makes the consumers of the documented services as arauto subscriber add
// does, as the user operator.
func (f *flow) letServicesSubscribe(b *broker) {
	f.T.Helper()
	_, js := b.as("operator")
	for stream, consumer := range map[string]string{subject.Orders: biller, subject.Outcomes: ledger} {
		_, err := js.CreateConsumer(f.Ctx, stream, topology.Subscriber(consumer))
		f.Must(err)
		_, err = js.Consumer(f.Ctx, stream, consumer)
		f.Must(err)
	}
}
