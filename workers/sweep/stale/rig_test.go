package stale_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
	"arauto/workers/sweep/stale"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// rig is a broker and sweepers whose clock a test turns. The broker's own
// clock stays, so ages come from turning the sweeper's forward.
type rig struct {
	*testbench.Broker
	retries *retry.Store
	clock   testbench.Clock
}

func setup(t *testing.T) *rig {
	t.Helper()
	r := &rig{Broker: testbench.Start(t, "sandbox")}
	var err error
	r.retries, err = retry.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	return r
}

// sweeper makes one that talks to the broker through js.
func (r *rig) sweeper(js jetstream.JetStream) *stale.Sweeper {
	r.T.Helper()
	observed, err := observations.Open(r.Ctx, js)
	r.Must(err)
	retries, err := retry.Open(r.Ctx, js, r.Tokens)
	r.Must(err)
	dead, err := deadletter.Open(r.Ctx, js)
	r.Must(err)
	s, err := stale.New(r.Ctx, stale.Options{
		JS: js, Tokens: r.Tokens, Retries: retries, Observations: observed, DeadLetters: dead, Log: zap.NewNop(),
		Metrics: stale.NewMetrics(prometheus.NewRegistry()),
		Now:     r.clock.Now, Jitter: func() float64 { return 0 }, Horizon: 400 * 24 * time.Hour,
	})
	r.Must(err)
	return s
}

// events writes a payment's log, one event per status.
func (r *rig) events(payment string, confirmed bool, statuses ...order.Status) {
	r.T.Helper()
	r.write(payment, confirmed, nil, statuses...)
}

// append writes the events that follow the first one, which led to a status.
func (r *rig) append(payment string, first order.Status, statuses ...order.Status) {
	r.T.Helper()
	e := order.Announce(nil, r.observation(payment, first, time.Now()), 1, order.Standing{Kind: order.Payment, Status: first})
	r.write(payment, true, &e, statuses...)
}

// write writes events behind the last one, nil for none.
func (r *rig) write(payment string, confirmed bool, last *order.Event, statuses ...order.Status) {
	r.T.Helper()
	for i, s := range statuses {
		o := r.observation(payment, s, time.Now())
		o.Confirmed = confirmed
		e := order.Announce(last, o, uint64(i+1), order.Standing{Kind: order.Payment, Status: s})
		last = &e
		body, err := json.Marshal(e)
		r.Must(err)
		m := nats.NewMsg(r.Unit(payment).Event(payment, s))
		m.Data = body
		for name, value := range e.CloudEvent("", payment) {
			m.Header.Set(name, value)
		}
		_, err = r.JS.PublishMsg(r.Ctx, m)
		r.Must(err)
	}
}

func (r *rig) observation(payment string, s order.Status, at time.Time) order.Observation {
	return order.Observation{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: payment,
		Status: s, ProviderStatus: string(s), Confirmed: true, Cause: order.CauseNotification,
		AskedAt: at, AnsweredAt: at, Notification: "n",
	}
}

// observe writes an observation that was answered at the sweepers' time.
func (r *rig) observe(payment string, s order.Status, covers uint64) {
	r.T.Helper()
	o := r.observation(payment, s, r.clock.Now())
	o.Covers = covers
	r.Publish(r.Unit(payment).Status(), o)
}

// notify stores a notification and lets lookup's consumer acknowledge it
// without doing anything: what a bug of ours would look like.
func (r *rig) notify(payment string) uint64 {
	r.T.Helper()
	sequence := r.Notify(record.Notification{ID: "n-" + payment, Payment: payment, Trace: "00-trace", Fields: map[string]string{"kept": "field"}})
	consumer, err := r.JS.Consumer(r.Ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	r.Must(err)
	m, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
	r.Must(err)
	r.Must(m.DoubleAck(r.Ctx))
	return sequence
}

// letter stores a letter about a payment's first notification.
func (r *rig) letter(payment, stage string, state record.State) {
	r.T.Helper()
	r.put(payment, record.DeadLetter{ID: "NOTIFICATIONS-1", Stage: stage, Stream: subject.Notifications, Sequence: 1, Covers: 1, State: state})
}

// put stores a letter as far as it is filled in.
func (r *rig) put(payment string, l record.DeadLetter) {
	r.T.Helper()
	l.Class, l.Provider, l.Account, l.Kind, l.Payment = record.ClassData, "sandbox", "default", order.Payment, payment
	l.Cause, l.LastAnswer, l.Next, l.At = "gone", "not_found", "ask", time.Now().UTC()
	if l.State != record.Open {
		l.By, l.MarkedAt = "ana@desk", &l.At
	}
	r.Publish(r.Unit(payment).DeadLetter("data", l.Stage), l)
}

// parked is what is parked for a payment or has come due, nil for nothing.
func (r *rig) parked(payment string) *record.ScheduledLookUp {
	r.T.Helper()
	place, err := r.retries.Read(r.Ctx, "sandbox", "default", payment)
	r.Must(err)
	if place.Sequence > 0 {
		return &place.Parked
	}
	due := r.due(payment)
	if len(due) == 0 {
		return nil
	}
	return &due[0]
}

// due lists the look-ups of a payment that have fired.
func (r *rig) due(payment string) []record.ScheduledLookUp {
	r.T.Helper()
	return testbench.Documents[record.ScheduledLookUp](r.Bench, subject.LookupRetries, r.Tokens.Waiting("sandbox", "default", payment).Due())
}
