package conformance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/gateway/publish"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/normalize/fold"
	"arauto/workers/workertest"
)

// flow is every role at work under its own user, on one sandbox payment.
type flow struct {
	testbench.Bench
	gateway *publish.Notifications
	bank    *bank
	events  *nats.Subscription // What viewer sees.
	dead    *nats.Subscription // What the inspector sees of dead letters.
	planted time.Time          // When plantOld was done.
}

func newFlow(t *testing.T, b *broker) *flow {
	t.Helper()
	f := &flow{Bench: testbench.NewBench(t, nil), bank: newBank(t)}
	f.applyTopology(b)
	f.plantOld(b)
	inspects, js := b.as(inspector)
	_, err := js.Publish(f.Ctx, f.Tokens.Waiting("sandbox", "default", "another").Forgotten(), []byte("{}")) // One is asked for only where there is one.
	f.Must(err)
	defer inspects.Close()
	viewer, _ := b.as("viewer")
	f.events = f.subscribe(viewer, "orders.>")
	all, _ := b.as(inspector)
	f.dead = f.subscribe(all, "dead.>")

	gateway, _ := b.as("gateway")
	f.gateway, err = publish.New(gateway, publish.Options{Timeout: 10 * time.Second})
	f.Must(err)
	f.Must(f.gateway.Ready(f.Ctx))
	f.runLookup(b)
	f.runNormalize(b)
	return f
}

func (f *flow) subscribe(nc *nats.Conn, on string) *nats.Subscription {
	f.T.Helper()
	s, err := nc.SubscribeSync(on)
	f.Must(err)
	f.Must(nc.FlushWithContext(f.Ctx))
	return s
}

// applyTopology applies it twice with a change in between, so that creating
// and updating both happen.
func (f *flow) applyTopology(b *broker) {
	f.T.Helper()
	_, js := b.as("topology")
	settings := topology.Settings{Replicas: 1, Store: 1 << 30, Providers: []string{"sandbox"}}
	_, err := topology.Apply(f.Ctx, js, settings)
	f.Must(err)
	settings.Store = 2 << 30
	_, err = topology.Apply(f.Ctx, js, settings)
	f.Must(err)
}

// plantOld stores the only event of a payment that sweep will remove, and its entry in the
// index of orders.
func (f *flow) plantOld(b *broker) {
	f.T.Helper()
	_, all := b.as(inspector)
	unit := f.Tokens.Unit("sandbox", "default", "old")
	body, err := json.Marshal(order.Event{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "old", Order: "o-old", Transition: 1,
		Status: order.Expired, ProviderStatus: "expired", ObservedAt: time.Now(), Observation: 1,
	})
	f.Must(err)
	_, err = all.Publish(f.Ctx, unit.OfOrder("o-old"), nil)
	f.Must(err)
	_, err = all.Publish(f.Ctx, unit.Event("o-old", order.Expired), body)
	f.Must(err)
	f.planted = time.Now()
}

// bench runs workers as the user of a role.
func (f *flow) bench(js jetstream.JetStream) workertest.Bench {
	b := f.Bench
	b.JS = js
	return workertest.Bench{Bench: b}
}

// runLookup has circuit breakers that one failure opens, so that each uses the broker.
func (f *flow) runLookup(b *broker) {
	f.T.Helper()
	_, js := b.as("lookup")
	bench := f.bench(js)
	w := bench.Lookup(f.bank.account(), bench.Breakers(50*time.Millisecond), 100*time.Millisecond, time.Minute)
	bench.Resume(w)
	bench.Consume(subject.Notifications, subject.LookupConsumer("sandbox"), 2, w.HandleNotification)
	bench.Consume(subject.LookupRetries, subject.LookupDueConsumer("sandbox"), 2, w.HandleDue)
}

// runNormalize has two workers with a memory of their own, which take turns: what one
// of them has folded the other has to read.
func (f *flow) runNormalize(b *broker) {
	f.T.Helper()
	_, js := b.as("normalize")
	bench := f.bench(js)
	workers := [2]*fold.Worker{bench.Fold(), bench.Fold()}
	var turn atomic.Uint32
	bench.Consume(subject.Statuses, subject.NormalizeConsumer, 2, func(ctx context.Context, m jetstream.Msg) error {
		return workers[turn.Add(1)%2].Handle(ctx, m)
	})
}

// play walks one payment through everything that makes a role talk to the
// broker: a failure that parks and pauses, a refused credential, a recheck
// that is cancelled, a return edge that is confirmed, and dead letters of both
// stages.
func (f *flow) play() {
	f.T.Helper()
	f.bank.say("", locked, "pending")
	f.notify("")
	f.event(order.Pending)
	f.bank.say("paid")
	f.notify("")
	f.event(order.Paid)
	f.bank.say("disputed")
	f.notify("")
	f.event(order.Disputed)
	f.bank.say("paid")
	f.notify("")
	f.event(order.Paid)
	f.bank.say("no word of ours")
	f.notify("")
	f.letter("dead.provider.normalize.")
	f.notify("NO_TYPE_OF_THEIRS")
	f.letter("dead.data.lookup.")
}

func (f *flow) notify(unknownType string) {
	f.T.Helper()
	n := record.Notification{
		ID: uuid.NewString(), Provider: "sandbox", Account: "default", Kind: order.Payment,
		Payment: "p-1", Order: "o-1", ReceivedAt: time.Now().UTC(), Unknown: unknownType,
	}
	body, err := json.Marshal(n)
	f.Must(err)
	f.Must(f.gateway.Store(f.Ctx, publish.Message{
		ID: n.ID, Subject: f.Tokens.Unit(n.Provider, n.Account, n.Payment).Notification(), Body: body,
	}))
}

func (f *flow) event(want order.Status) {
	f.T.Helper()
	m, err := f.events.NextMsgWithContext(f.Ctx)
	if err != nil {
		f.T.Fatalf("wait for the event %s: %v", want, err)
	}
	if got := path.Ext(m.Subject); got != "."+string(want) {
		f.T.Fatalf("event on %s, want %s", m.Subject, want)
	}
}

func (f *flow) letter(prefix string) {
	f.T.Helper()
	m, err := f.dead.NextMsgWithContext(f.Ctx)
	if err != nil {
		f.T.Fatalf("wait for a dead letter on %s: %v", prefix, err)
	}
	if !strings.HasPrefix(m.Subject, prefix) {
		f.T.Fatalf("dead letter on %s, want %s", m.Subject, prefix)
	}
}

// bank answers the sandbox's look-ups.
type bank struct {
	url     string
	mu      sync.Mutex
	answers []string
}

func newBank(t *testing.T) *bank {
	t.Helper()
	b := &bank{}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

// locked is the answer to a credential that is none.
const locked = "401"

// say sets the coming answers; the last one stays. "" is a failure.
func (b *bank) say(words ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = words
}

func (b *bank) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if path.Base(q.URL.Path) != "p-1" {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error":"no such payment"}`)) // A client that went away is its own problem.
		return
	}
	b.mu.Lock()
	word := b.answers[0]
	if len(b.answers) > 1 {
		b.answers = b.answers[1:]
	}
	b.mu.Unlock()
	switch word {
	case "":
		w.WriteHeader(http.StatusInternalServerError)
		return
	case locked:
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	// A client that went away is its own problem.
	_, _ = fmt.Fprintf(w, `{"payment":"p-1","order":"o-1","status":%q,"amount":1000,"refunded":0}`, word)
}

func (b *bank) account() provider.Account {
	return provider.Account{Name: "default", Settings: map[string]string{"base_url": b.url, "token": "token"}}
}
