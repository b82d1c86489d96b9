// Package expect is the role that holds internal services' expectations against what the
// providers say: it has expected payments looked up that no webhook announces, and
// publishes what came of each. Its memory is a cache and every write is a
// compare-and-append, so any number of copies may run and be killed at any time.
package expect

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/spans"
	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/trace"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/expectations"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
)

// Options are what a Worker works with. All fields but Trace and Speedup are required.
type Options struct {
	JS           jetstream.JetStream
	Tokens       subject.Tokens
	Expectations *expectations.Store
	Observations *observations.Store
	Retries      *retry.Store
	Orders       Payments
	Check        func(provider, account, payment string) (order.Kind, error) // Why a payment cannot be expected, or its kind.
	// SameShop reports whether an order's number names the same order in both accounts.
	SameShop func(u, other subject.Unit) bool
	Log      *zap.Logger
	Metrics  *Metrics
	Trace    *spans.Tracer    // Nil for no spans.
	Now      func() time.Time // The broker's time.
	Without  time.Duration    // How long an expectation without a deadline waits.
	Speedup  int              // How many times as fast as a real clock the cadence runs: 1 but in tests.
}

// Payments finds the payments of an order.
type Payments interface {
	// PaymentsOf lists the payments that have an event of the order, of all providers.
	PaymentsOf(ctx context.Context, order string) ([]subject.Unit, error)
}

// once is a Payments that searches for an order once, since the search is the most expensive
// read of a judgement.
type once struct {
	Payments
	order string
	units []subject.Unit
}

// PaymentsOf implements Payments.
func (o *once) PaymentsOf(ctx context.Context, order string) ([]subject.Unit, error) {
	if o.order == order {
		return o.units, nil
	}
	units, err := o.Payments.PaymentsOf(ctx, order)
	if err == nil {
		o.order, o.units = order, units
	}
	return units, err
}

// Worker judges expectations. Its methods may run concurrently.
type Worker struct {
	Options
	orders   jetstream.Stream
	statuses jetstream.Stream
	first    sync.Map // By unit: the announced that is open, as far as this worker has judged it.
}

// announced is a version of an expectation, and when it was announced first.
type announced struct {
	version string
	since   time.Time
}

// New opens the streams and returns a Worker.
func New(ctx context.Context, o Options) (*Worker, error) {
	w := &Worker{Options: o}
	for name, stream := range map[string]*jetstream.Stream{subject.Orders: &w.orders, subject.Statuses: &w.statuses} {
		var err error
		if *stream, err = o.JS.Stream(ctx, name); err != nil {
			return nil, fmt.Errorf("open stream %s: %w", name, err)
		}
	}
	return w, nil
}

// expected is one version of an expectation as it is judged.
type expected struct {
	unit     subject.Unit
	sequence uint64 // On EXPECTATIONS; 0 for one that was removed.
	body     expectation.Expectation
	kind     order.Kind
	payment  string
	version  string
	since    time.Time
	deadline time.Time
	trace    string // The trace context in which it is judged.
}

// waits is the outcome of a judgement that publishes none.
const waits = "waits"

// Message judges the expectation that is stored in a message of EXPECTATIONS. It returns
// when to judge it again, and its deadline; the zero time means that it is settled.
func (w *Worker) Message(ctx context.Context, raw *jetstream.RawStreamMsg) (again, deadline time.Time, err error) {
	return w.message(ctx, raw, &once{Payments: w.Orders})
}

func (w *Worker) message(ctx context.Context, raw *jetstream.RawStreamMsg, orders Payments) (again, deadline time.Time, err error) {
	u, err := subject.ParseUnit(raw.Subject)
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	e := expected{unit: u, sequence: raw.Sequence, since: expectations.Since(raw), version: expectation.UnreadableVersion(raw.Data)}
	// The expectation's trace, also while an event is handled: what comes of it is the announcer's.
	if e.trace = raw.Header.Get(trace.Header); !trace.Valid(e.trace) {
		e.trace = trace.New()
	}
	e.trace = w.Trace.Sample(e.trace)
	ctx, span := w.Trace.Process(ctx, e.trace, subject.Expectations, subject.ExpectConsumer)
	defer func() { span.End(err) }()
	span.Outcome(waits)
	var reason error
	if e.body, reason = expectation.Read(raw.Data); reason == nil {
		e.payment, reason = expectations.Payment(w.Tokens, u, e.body.Payment)
	}
	if reason != nil {
		return time.Time{}, time.Time{}, w.refuse(ctx, e, reason)
	}
	if e.body.Withdrawn {
		return time.Time{}, time.Time{}, w.withdraw(ctx, e)
	}
	e.version = e.body.Version(e.payment)
	if err := w.keepSince(ctx, &e, raw); err != nil {
		return time.Time{}, time.Time{}, err
	}
	e.deadline = expectations.DeadlineOf(e.body, e.since, w.Without)
	if e.kind, reason = w.Check(u.Provider, u.Account, e.payment); reason != nil {
		return time.Time{}, time.Time{}, w.refuse(ctx, e, reason)
	}
	span.Account(u.Provider, u.Account) // Configured ones, by the check: what an announcer writes is in no span.
	again, err = w.judge(ctx, e, orders)
	return again, e.deadline, err
}

// keepSince has a version that is announced again count from its first announcement, as far as
// this worker has seen that, or a worker has kept it. Otherwise a service that announces what is
// open every day would move the default deadline every day, and a payment that is never paid
// would stay open.
func (w *Worker) keepSince(ctx context.Context, e *expected, raw *jetstream.RawStreamMsg) error {
	before, _ := w.first.Load(e.unit)
	if first, ok := before.(announced); ok && first.version == e.version && first.since.Before(e.since) {
		e.since = first.since
		sequence, err := w.Expectations.Keep(ctx, raw, e.since)
		if err != nil && !stream.IsConflict(err) { // What has replaced it is judged by itself.
			return err
		}
		if err == nil {
			e.sequence = sequence
		}
	}
	w.first.Store(e.unit, announced{e.version, e.since})
	return nil
}

// gone forgets when an expectation was announced, unless a later one has replaced it.
func (w *Worker) gone(ctx context.Context, u subject.Unit) error {
	if _, judged := w.first.Load(u); !judged {
		return nil
	}
	last, err := stream.Last(ctx, w.Expectations.Expected(), u.Expected())
	if err == nil && last == nil {
		w.first.Delete(u)
	}
	return err
}

// judge publishes what came of an expectation, and schedules its look-up or removes it. It
// returns when to judge it again, zero for a settled one.
func (w *Worker) judge(ctx context.Context, e expected, orders Payments) (again time.Time, err error) {
	err = stream.RetryConflicts(ctx, func() error {
		g, err := w.collect(ctx, e, orders)
		if err != nil {
			return err
		}
		v := Judge(g.Facts)
		if len(v.Outcomes) > 0 {
			last, err := w.Observations.Last(ctx, e.unit)
			if err != nil {
				return err
			}
			if last.Refuses(w.Now()) { // The payment was erased, perhaps since its facts were read.
				again = *last.Observation.RefusedUntil
				return nil
			}
		}
		for _, word := range v.Outcomes {
			if err := w.publish(ctx, e, &g.log, g.outcome(e, word, v.Reason)); err != nil {
				return err
			}
		}
		again = v.Again
		switch {
		case e.sequence == 0:
			again = time.Time{}
			return nil
		case v.Settled:
			again = time.Time{}
			return w.settle(ctx, e, g.scheduled)
		case !v.Ask.IsZero():
			return w.ask(ctx, e, g.scheduled, v.Ask)
		}
		return nil
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("judge expectation of %s: %w", e.unit, err)
	}
	return again, nil
}

// publish publishes one outcome.
func (w *Worker) publish(ctx context.Context, e expected, log *expectations.Log, o expectation.Outcome) error {
	if err := w.Expectations.Publish(ctx, e.unit, log, o, e.trace); err != nil {
		return err
	}
	spans.Of(ctx).Outcome(string(o.Outcome))
	w.Metrics.published(o)
	fields := []zap.Field{
		zap.String("provider", o.Provider), zap.String("account", o.Account), zap.String("payment", e.unit.Payment),
		zap.String("outcome", string(o.Outcome)), zap.String("version", o.Version), zap.Uint64("sequence", e.sequence),
		zap.String("traceparent", e.trace),
	}
	if o.Reason != nil {
		fields = append(fields, zap.String("reason", *o.Reason))
	}
	w.Log.Info("expectation.judged", fields...)
	return nil
}

// publishWithRoom publishes an outcome of which a service can have any number, without any
// payment: so the last half of OUTCOMES is kept for the others. What has no room is logged
// and counted.
func (w *Worker) publishWithRoom(ctx context.Context, e expected, log *expectations.Log, o expectation.Outcome) error {
	free, err := w.Expectations.HalfFree(ctx)
	if err != nil {
		return err
	}
	if free {
		return w.publish(ctx, e, log, o)
	}
	w.Metrics.published(o)
	w.Log.Warn("expectation.outcome_dropped", zap.String("unit", e.unit.String()), zap.String("outcome", string(o.Outcome)),
		zap.Uint64("sequence", e.sequence), zap.Stringp("reason", o.Reason), zap.String("cause", "OUTCOMES is half full"))
	return nil
}

// settle removes an expectation, after its scheduled look-up is cancelled: a crash in
// between leaves an expectation that is settled again.
func (w *Worker) settle(ctx context.Context, e expected, scheduled retry.Entry) error {
	if scheduled.Parked.Cause == order.CauseExpectation && scheduled.Parked.Covers == 0 {
		if err := w.Retries.Cancel(ctx, scheduled); err != nil {
			return err
		}
	}
	w.first.Delete(e.unit)
	return w.Expectations.Remove(ctx, e.sequence)
}

// ask schedules the look-up of an expected payment. retry.ErrFull means that what is expected
// takes its share of LOOKUP_RETRIES: the payment waits, so that webhooks do not.
func (w *Worker) ask(ctx context.Context, e expected, scheduled retry.Entry, at time.Time) error {
	if scheduled.Sequence == 0 {
		if err := w.Retries.CheckLimit(ctx, retry.LimitForExpected); err != nil {
			return err
		}
	}
	ctx, span, within := spans.Send(ctx, subject.LookupRetries, e.trace)
	_, err := w.Retries.ScheduleOver(ctx, scheduled, retry.Expected, record.ScheduledLookUp{
		Provider: e.unit.Provider, Account: e.unit.Account, Kind: e.kind, Payment: e.payment, Order: e.body.Order,
		Cause: order.CauseExpectation, Reason: string(order.CauseExpectation), DueAt: at.UTC(), Trace: within,
		NotificationsCreated: w.Observations.Created(),
	})
	span.End(err)
	if err == nil {
		w.Metrics.scheduled.WithLabelValues(e.unit.Provider).Inc()
	}
	return err
}

// withdraw publishes that a payment is no longer expected.
func (w *Worker) withdraw(ctx context.Context, e expected) error {
	e.version = expectation.WithdrawalVersion(e.payment, e.since)
	return w.close(ctx, e, expectation.Withdrawn, "")
}

// refuse publishes that an expectation cannot be held. The outcome is for the service that
// announced it; there is no dead letter, because an operator could only discard it, and a
// service could fill DEAD_LETTERS, which payments need.
func (w *Worker) refuse(ctx context.Context, e expected, reason error) error {
	if e.payment == "" { // The unit may name what must not stand in a subject.
		if id := e.body.Payment; id != "" {
			e.payment = id
		} else if id, err := expectations.Payment(w.Tokens, e.unit, ""); err == nil {
			e.payment = id
		} else {
			e.payment = e.unit.Payment
		}
	}
	if !strings.HasPrefix(e.payment, "~") {
		e.unit = e.unit.Named(w.Tokens, e.payment)
	}
	return w.close(ctx, e, expectation.Refused, reason.Error())
}

// close publishes the only outcome of what is stored on EXPECTATIONS, and removes it.
func (w *Worker) close(ctx context.Context, e expected, word expectation.Word, reason string) error {
	return stream.RetryConflicts(ctx, func() error {
		log, err := w.Expectations.Log(ctx, e.unit)
		if err != nil {
			return err
		}
		if _, said := log.Said(e.version)[word]; !said {
			o := expectation.Outcome{
				Provider: e.unit.Provider, Account: e.unit.Account, Payment: e.payment, Order: optional(e.body.Order),
				Outcome: word, Version: e.version, Expected: e.body.Amount, Deadline: e.body.Deadline,
				Reason: optional(reason), At: w.Now().UTC(),
			}
			if err := w.publishWithRoom(ctx, e, &log, o); err != nil {
				return err
			}
		}
		scheduled, err := w.Retries.Read(ctx, e.unit.Provider, e.unit.Account, e.payment)
		if err != nil {
			return err
		}
		return w.settle(ctx, e, scheduled)
	})
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
