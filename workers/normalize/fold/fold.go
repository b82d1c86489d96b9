// Package fold is the normalize worker: it folds a payment's observations, in the order
// of STATUSES, into its order log. The log is the state: publishing the event makes the
// transition. It is a compare-and-append behind the payment's last event, so any number
// of workers may fold the same observations, and crash at any point.
package fold

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/spans"
	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/forgotten"
	"arauto/workers/internal/orderindex"
	"arauto/workers/internal/retry"
)

// maxPositions is how many payments' positions a worker keeps in memory. A guess: it
// only saves reading observations again that led to no event.
const maxPositions = 65536

// Options are what a worker works with.
type Options struct {
	JS          jetstream.JetStream
	Events      commit.Appender // What events are stored through; commit.Direct on JS by default.
	Index       commit.Appender // What the index of orders is stored through; commit.Direct on JS by default.
	Tokens      subject.Tokens
	Retries     *retry.Store
	DeadLetters *deadletter.Store
	Forgotten   *forgotten.Store // The erased payments, whose next log is marked as restarted; nil for none.
	Log         *zap.Logger
	Metrics     *Metrics
	Trace       *spans.Tracer // Nil for no spans.
	Now         func() time.Time
	Spans       order.Spans  // The times that corrections and returns need. order.Standard by default; tests shorten them.
	Clock       *retry.Clock // The broker's time; the machine's by default.

	RemoveAfter time.Duration // How long a payment has not moved before sweep removes its log, 0 for never.
	Deployment  string        // In the CloudEvents source of each event; "" for none.
}

// Worker folds observations. Its handler may run concurrently, in this and other
// processes.
type Worker struct {
	Options
	statuses  jetstream.Stream
	orders    jetstream.Stream
	positions *lru.Cache[string, position]
}

// New binds to STATUSES and ORDERS and returns a worker. ORDER_PAYMENTS must be there too,
// because the message of a first event is not acked without its entry.
func New(ctx context.Context, o Options) (*Worker, error) {
	w := &Worker{Options: o}
	w.Spans, w.Clock = cmp.Or(o.Spans, order.Standard), cmp.Or(o.Clock, retry.NewClock(o.JS, nil))
	direct := commit.Appender(commit.Direct{JS: o.JS})
	w.Events, w.Index = cmp.Or(o.Events, direct), cmp.Or(o.Index, direct)
	var index jetstream.Stream
	var err error
	for name, bound := range map[string]*jetstream.Stream{subject.Statuses: &w.statuses, subject.Orders: &w.orders, subject.OrderPayments: &index} {
		if *bound, err = o.JS.Stream(ctx, name); err != nil {
			return nil, fmt.Errorf("open stream %s: %w", name, err)
		}
	}
	if w.positions, err = lru.New[string, position](maxPositions); err != nil {
		return nil, fmt.Errorf("make memory of positions: %w", err)
	}
	return w, nil
}

// Handle folds a payment's observations up to one message of STATUSES. It is a
// consume.Handler.
func (w *Worker) Handle(ctx context.Context, m jetstream.Msg) (err error) {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read message metadata: %w", err)
	}
	began := w.Now()
	unit, err := subject.ParseStatus(m.Subject())
	if err != nil {
		return err
	}
	ctx, span := w.Trace.Process(ctx, m.Headers().Get("traceparent"), subject.Statuses, subject.NormalizeConsumer)
	span.Account(unit.Provider, unit.Account)
	defer func() { span.End(err) }()
	sequence := meta.Sequence.Stream
	handled := &jetstream.RawStreamMsg{Subject: m.Subject(), Sequence: sequence, Header: m.Headers(), Data: m.Data(), Time: meta.Timestamp}
	at, known := firstPosition(handled)
	var outcome order.Outcome
	var seen order.Observation
	err = stream.RetryConflicts(ctx, func() (err error) {
		if !known {
			if at, err = w.position(ctx, unit); err != nil {
				return err
			}
			// The entry of a first event is written at the same time as the event. A process
			// that ends in between leaves a message that is delivered again, or, by a broker
			// that was killed before it noted the delivery, for the first time once again.
			if at.last != nil && (meta.NumDelivered > 1 || observationOf(at.last) >= sequence) {
				if err = orderindex.Add(ctx, w.Index, unit, w.Tokens.Token(at.last.Order)); err != nil {
					return err
				}
			}
		}
		outcome, seen, err = w.foldUpTo(ctx, unit, handled, at)
		if stream.IsConflict(err) {
			w.positions.Remove(unit.String())
			known = false
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("fold %s: %w", unit, err)
	}
	w.Metrics.outcome(unit.Provider, outcome)
	span.Outcome(string(outcome))
	w.Log.Info("observation.folded",
		zap.String("provider", unit.Provider), zap.String("account", unit.Account), zap.String("payment", unit.Payment),
		zap.Uint64("observation", sequence), zap.String("notification", seen.Notification),
		zap.String("decision", string(outcome)), zap.String("status", string(seen.Status)),
		zap.String("provider_status", seen.ProviderStatus), zap.Duration("took", w.Now().Sub(began)),
		zap.String("traceparent", m.Headers().Get("traceparent")))
	return nil
}

// foldUpTo folds the unit's observations from a position up to and including the
// handled one, and returns the outcome of that one.
func (w *Worker) foldUpTo(ctx context.Context, u subject.Unit, handled *jetstream.RawStreamMsg, at position) (order.Outcome, order.Observation, error) {
	sequence := handled.Sequence
	if folded := observationOf(at.last); folded >= sequence || skips(handled, folded) {
		if err := w.checkRecreated(ctx, u, at.last); err != nil || folded >= sequence {
			return outcomeFolded, order.Observation{}, err
		}
	}
	if at.folded >= sequence {
		// It was folded without an event and redelivered because the ack was lost.
		// Fold it again: its effects may be missing.
		at = at.atLastEvent()
	}
	for {
		raw, err := w.next(ctx, u, at.folded, handled)
		if err != nil {
			return "", order.Observation{}, fmt.Errorf("read observation above %d: %w", at.folded, err)
		}
		if raw == nil || raw.Sequence > sequence {
			return outcomeGone, order.Observation{}, nil
		}
		outcome, seen, err := w.step(ctx, u, &at, raw, sequence)
		if err != nil {
			return "", seen, err
		}
		w.positions.Add(u.String(), at)
		if raw.Sequence == sequence {
			return outcome, seen, nil
		}
	}
}

// The outcomes of a message beside those of schemas/order.
const (
	outcomeFolded order.Outcome = "already_folded" // Another worker has folded the observation.
	outcomeGone   order.Outcome = "gone"           // The observation was removed from STATUSES before it was handled.

	outcomeForgotten  order.Outcome = "forgotten"  // It is the mark of an erased payment.
	outcomeUnreadable order.Outcome = "unreadable" // The observation does not decode.
)

// step folds one observation, writes its effects, and moves at behind it. handled is
// the sequence of the observation whose message is handled.
func (w *Worker) step(ctx context.Context, u subject.Unit, at *position, raw *jetstream.RawStreamMsg, handled uint64) (order.Outcome, order.Observation, error) {
	var seen order.Observation
	after, outcome := at.standing, outcomeUnreadable
	err := json.Unmarshal(raw.Data, &seen)
	switch mine := err == nil && seen.Provider == u.Provider && seen.Account == u.Account; {
	case mine && seen.RefusedUntil != nil:
		after, outcome = order.StandingOf(at.last), outcomeForgotten
	case mine:
		after, outcome = at.standing.FoldWithin(w.Spans, seen, raw.Time)
	}
	if at.assumedEmpty && outcome != order.Applied {
		return "", seen, stream.ErrConflict // Only publishing an event would notice that the log is not empty, so the log is read first.
	}
	trace := raw.Header.Get("traceparent")
	if agrees := outcome == order.Applied || outcome == order.Unchanged; agrees && at.standing.Told() {
		if err := w.resolve(ctx, u, raw.Sequence); err != nil {
			return "", seen, err
		}
	}
	switch outcome {
	case outcomeUnreadable:
		err = w.deadLetterUnreadable(ctx, u, raw)
	case order.Applied:
		if after.Corrected() {
			err = w.countCorrections(ctx, u, at, seen, raw)
		}
		if err == nil {
			err = w.publish(ctx, u, at, seen, raw.Sequence, after, trace)
		}
	case order.Unconfirmed, order.Late, order.Illegal:
		// Only an observation's own message schedules the next look-up. Folding an
		// old one again must not replace what is scheduled by now.
		if raw.Sequence == handled {
			err = w.scheduleRecheck(ctx, seen, raw.Time, after.Again(w.Spans, outcome, raw.Time), outcome, trace)
		}
	case order.Insisted, order.UnknownWord:
		err = w.report(ctx, u, at, seen, raw, after)
	case outcomeForgotten:
		// The log that ended here is erased with its observations.
	case order.Unchanged:
		// The observation on STATUSES is the record of it.
	default:
		err = fmt.Errorf("outcome %q has no effect declared", outcome)
	}
	if err != nil {
		return "", seen, err
	}
	at.folded, at.standing = raw.Sequence, after
	return outcome, seen, nil
}

// youngCapture is the age up to which a capture proves that no event about it was removed:
// far below most values of RemoveAfter, which may have been another one before.
const youngCapture = 24 * time.Hour

// mayRestart reports whether sweep may have removed earlier events of a payment whose log
// begins with an event that says that money was captured. It has not if the provider says
// that this was lately: an event about it would be too young.
func (w *Worker) mayRestart(e order.Event) bool {
	if w.RemoveAfter == 0 || !order.StandingOf(&e).EverPaid() {
		return false
	}
	return e.Status != order.Paid || e.OccurredAt == nil || w.Clock.Now().Sub(*e.OccurredAt) >= min(youngCapture, w.RemoveAfter)
}

// publish publishes the event of a transition, as a compare-and-append on the payment's
// order log. It does not publish an event that an unreadable message of the log has
// announced.
func (w *Worker) publish(ctx context.Context, u subject.Unit, at *position, seen order.Observation,
	sequence uint64, after order.Standing, trace string) error {
	event := order.Announce(at.last, seen, sequence, after)
	event.Transition = max(event.Transition, at.number+1)
	if at.event == 0 {
		erased, err := w.Forgotten.Has(ctx, seen.Provider, seen.Account, seen.Payment)
		if err != nil {
			return err
		}
		event.Restarted = erased || w.mayRestart(event)
	}
	if at.announced[event.ID()] {
		event.Transition = at.number
		at.last, at.assumedEmpty = &event, false
		return nil
	}
	body, err := json.Marshal(event)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	of := w.Tokens.Token(event.Order)
	if at.last != nil && at.last.Order != event.Order { // The writer of the last event may not have come to its entry.
		if err := orderindex.Add(ctx, w.Index, u, w.Tokens.Token(at.last.Order), of); err != nil {
			return err
		}
	}
	ctx, span, trace := spans.Send(ctx, subject.Orders, trace)
	m := commit.Message{
		ID: event.ID(), Subject: u.Event(of, event.Status), Body: body,
		Header: nats.Header{}, Guard: &commit.Guard{Filter: u.Events(), Last: at.event},
	}
	for name, value := range event.CloudEvent(w.Deployment, w.Tokens.Shown(event.Order)) {
		m.Header.Set(name, value)
	}
	if trace != "" {
		m.Header.Set("traceparent", trace)
	}
	var indexed errgroup.Group
	if at.last == nil { // At the same time as the event: see Handle.
		indexed.Go(func() error { return orderindex.Add(ctx, w.Index, u, of) })
	}
	stored, err := w.Events.Store(ctx, m)
	span.End(err)
	if unindexed := indexed.Wait(); err == nil {
		err = unindexed
	}
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if stored.Duplicate {
		// An earlier publish of this event whose ack was lost: read what is stored.
		return stream.ErrConflict
	}
	at.event, at.last, at.assumedEmpty = stored.Sequence, &event, false
	at.number, at.announced = event.Transition, nil
	w.Metrics.published(u.Provider, event.Status)
	if seen.Cause == order.CauseSweep {
		w.Metrics.repaired(u.Provider)
	}
	if seen.NotifiedAt != nil {
		w.Metrics.webhookToEvent(span, u.Provider, w.Now().Sub(*seen.NotifiedAt))
	}
	return nil
}
