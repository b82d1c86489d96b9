package stale_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
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
	t       *testing.T
	ctx     context.Context
	tokens  subject.Tokens
	retries *retry.Store
	ahead   atomic.Int64
}

func setup(t *testing.T) *rig {
	t.Helper()
	tokens, err := subject.Keyed("a key for tests, 32 bytes long...")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Broker: testbench.Start(t, "sandbox"), t: t, ctx: testbench.Context(t), tokens: tokens}
	if r.retries, err = retry.Open(r.ctx, r.JS, tokens); err != nil {
		t.Fatal(err)
	}
	return r
}

// turn sets how far ahead the sweepers' clock is.
func (r *rig) turn(d time.Duration) { r.ahead.Store(int64(d)) }

func (r *rig) now() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }

// sweeper makes one that talks to the broker through js.
func (r *rig) sweeper(js jetstream.JetStream) *stale.Sweeper {
	r.t.Helper()
	observed, err := observations.Open(r.ctx, js)
	r.must(err)
	retries, err := retry.Open(r.ctx, js, r.tokens)
	r.must(err)
	dead, err := deadletter.Open(r.ctx, js)
	r.must(err)
	s, err := stale.New(r.ctx, stale.Options{
		JS: js, Tokens: r.tokens, Retries: retries, Observations: observed, DeadLetters: dead, Log: zap.NewNop(),
		Metrics: stale.NewMetrics(prometheus.NewRegistry()),
		Now:     r.now, Jitter: func() float64 { return 0 }, Horizon: 400 * 24 * time.Hour,
	})
	r.must(err)
	return s
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) unit(payment string) subject.Unit { return r.tokens.Unit("sandbox", "default", payment) }

// events writes a payment's log, one event per status.
func (r *rig) events(payment string, confirmed bool, statuses ...order.Status) {
	r.t.Helper()
	r.write(payment, confirmed, nil, statuses...)
}

// append writes the events that follow the first one, which led to a status.
func (r *rig) append(payment string, first order.Status, statuses ...order.Status) {
	r.t.Helper()
	e := order.Announce(nil, r.observation(payment, first, time.Now()), 1, order.Standing{Kind: order.Payment, Status: first})
	r.write(payment, true, &e, statuses...)
}

// write writes events behind the last one, nil for none.
func (r *rig) write(payment string, confirmed bool, last *order.Event, statuses ...order.Status) {
	r.t.Helper()
	for i, s := range statuses {
		o := r.observation(payment, s, time.Now())
		o.Confirmed = confirmed
		e := order.Announce(last, o, uint64(i+1), order.Standing{Kind: order.Payment, Status: s})
		last = &e
		body, err := json.Marshal(e)
		r.must(err)
		m := nats.NewMsg(r.unit(payment).Event(payment, s))
		m.Data = body
		for name, value := range e.CloudEvent(payment) {
			m.Header.Set(name, value)
		}
		_, err = r.JS.PublishMsg(r.ctx, m)
		r.must(err)
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
	r.t.Helper()
	o := r.observation(payment, s, r.now())
	o.Covers = covers
	body, err := json.Marshal(o)
	r.must(err)
	_, err = r.JS.Publish(r.ctx, r.unit(payment).Status(), body)
	r.must(err)
}

// notify stores a notification and lets lookup's consumer acknowledge it
// without doing anything: what a bug of ours would look like.
func (r *rig) notify(payment string) uint64 {
	r.t.Helper()
	body, err := json.Marshal(record.Notification{
		ID: "n-" + payment, Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment,
		ReceivedAt: time.Now().UTC(), Trace: "00-trace", Fields: map[string]string{"kept": "field"},
	})
	r.must(err)
	ack, err := r.JS.Publish(r.ctx, r.unit(payment).Notification(), body)
	r.must(err)
	consumer, err := r.JS.Consumer(r.ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	r.must(err)
	m, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
	r.must(err)
	r.must(m.DoubleAck(r.ctx))
	return ack.Sequence
}

// letter stores a letter about a payment's first notification.
func (r *rig) letter(payment, stage string, state record.State) {
	r.t.Helper()
	r.put(payment, record.DeadLetter{ID: "NOTIFICATIONS-1", Stage: stage, Stream: subject.Notifications, Sequence: 1, Covers: 1, State: state})
}

// put stores a letter as far as it is filled in.
func (r *rig) put(payment string, l record.DeadLetter) {
	r.t.Helper()
	l.Class, l.Provider, l.Account, l.Kind, l.Payment = record.ClassData, "sandbox", "default", order.Payment, payment
	l.Cause, l.LastAnswer, l.Next, l.At = "gone", "not_found", "ask", time.Now().UTC()
	if l.State != record.Open {
		l.By, l.MarkedAt = "ana@desk", &l.At
	}
	body, err := json.Marshal(l)
	r.must(err)
	_, err = r.JS.Publish(r.ctx, r.unit(payment).DeadLetter("data", l.Stage), body)
	r.must(err)
}

// parked is what is parked for a payment or has come due, nil for nothing.
func (r *rig) parked(payment string) *record.ScheduledLookUp {
	r.t.Helper()
	place, err := r.retries.Read(r.ctx, "sandbox", "default", payment)
	r.must(err)
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
	r.t.Helper()
	stream, err := r.JS.Stream(r.ctx, subject.LookupRetries)
	r.must(err)
	var all []record.ScheduledLookUp
	for next := uint64(1); ; {
		raw, err := stream.GetMsg(r.ctx, next, jetstream.WithGetMsgSubject(r.tokens.Waiting("sandbox", "default", payment).Due()))
		if err != nil {
			return all
		}
		var p record.ScheduledLookUp
		r.must(json.Unmarshal(raw.Data, &p))
		all, next = append(all, p), raw.Sequence+1
	}
}
