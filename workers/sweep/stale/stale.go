// Package stale finds payments whose status may have changed without a webhook, and
// enqueues look-ups: of payments that are not final and have had no answer for too long,
// of payments that ended without money, at some ages, and for notifications without an
// outcome.
//
// Its memory is a cache. A look-up is only scheduled where none is, so any number of
// copies may examine the same payments and be killed at any time.
//
// It reads each event of ORDERS once, from the leader, and remembers each payment's last one
// and when to judge it. Then that event is read again, and the last observation; if that is
// old, the last dead letters and the scheduled look-up.
package stale

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/trace"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
)

// Options are what a Sweeper works with. All fields are required.
type Options struct {
	JS           jetstream.JetStream
	Tokens       subject.Tokens
	Retries      *retry.Store
	Observations *observations.Store
	DeadLetters  *deadletter.Store
	Log          *zap.Logger
	Metrics      *Metrics
	Now          func() time.Time
	Jitter       func() float64 // From 0 to 1; spreads look-ups that would be due at once.
	Horizon      time.Duration  // A payment that has been in one status for so long is not looked up again.
}

// Sweeper enqueues look-ups of stale payments. Its methods must not run concurrently
// with themselves; several sweepers may run.
type Sweeper struct {
	Options
	notifications jetstream.Stream
	retries       jetstream.Stream
	orders        jetstream.Stream
	dead          jetstream.Stream

	created  time.Time // Creation time of ORDERS when it was walked.
	walk     walk
	groups   groups
	judged   map[string]judged // By provider.
	reported deadLetters
	counted  *observations.Store // The observations of the incarnation of NOTIFICATIONS that Unprocessed judges, which runs beside the walk.

	maxRead, maxJudged int // The constants, unless a test sets them.
}

// New opens the streams and returns a Sweeper.
func New(ctx context.Context, o Options) (*Sweeper, error) {
	s := &Sweeper{Options: o, walk: newWalk(), judged: map[string]judged{}, maxRead: maxRead, maxJudged: maxJudged}
	for name, stream := range map[string]*jetstream.Stream{
		subject.Notifications: &s.notifications, subject.LookupRetries: &s.retries,
		subject.Orders: &s.orders, subject.DeadLetters: &s.dead,
	} {
		var err error
		if *stream, err = o.JS.Stream(ctx, name); err != nil {
			return nil, fmt.Errorf("open stream %s: %w", name, err)
		}
	}
	return s, nil
}

// Round reads the new events and judges the payments that are due. It judges none before
// it has read all events: a later one may say that the payment has moved. It goes on after
// a payment that cannot be judged, returns an error, and judges that payment again in the
// next round.
func (s *Sweeper) Round(ctx context.Context) error {
	if err := s.resetIfRecreated(ctx); err != nil {
		return err
	}
	var failed failures
	if err := s.storeAgain(ctx, &failed); err != nil {
		return err
	}
	ended, err := s.read(ctx, &failed)
	if err == nil && ended {
		err = s.judgeDue(ctx, &failed)
		s.countPayments()
	}
	return errors.Join(err, failed.err())
}

// never is the time of a message that need not be judged again.
var never time.Time

// firstDue is when a payment whose last event was stored at a time is to be judged.
func (s *Sweeper) firstDue(e order.Event, stored time.Time) time.Time {
	age := s.Now().Sub(stored)
	if age >= s.Horizon {
		return never
	}
	if slices.Contains(unpaid, e.Status) {
		last, next := UnpaidLookUp(age)
		switch {
		case last > 0:
			return stored.Add(last)
		case next > 0:
			return stored.Add(next)
		}
		return never
	}
	every := Every(e.Status, age)
	if e.Final || every == 0 {
		return never
	}
	return stored.Add(every)
}

// judge enqueues a look-up of an event's payment, of which the event is the last one, if
// the payment is stale. It returns when to judge it again. The cheap reasons not to enqueue
// come first.
func (s *Sweeper) judge(ctx context.Context, u subject.Unit, e order.Event, raw *jetstream.RawStreamMsg) (time.Time, error) {
	now := s.Now()
	age := now.Sub(raw.Time)
	if slices.Contains(unpaid, e.Status) {
		return s.judgeUnpaid(ctx, u, e, raw, now)
	}
	every := Every(e.Status, age)
	if e.Final || every == 0 || age >= s.Horizon {
		return never, nil
	}
	if age < every {
		return raw.Time.Add(every), nil
	}
	next, stale, err := s.isStale(ctx, u, e, now, every)
	if err != nil || !stale {
		return next, err
	}
	if err := s.enqueue(ctx, reasonStale, every/10, lookUpOf(e)); err != nil {
		return now, err
	}
	return again(now, e.Status), nil
}

// judgeUnpaid enqueues a look-up of a payment that ended without money, at the ages of
// unpaidLookUps, unless it was looked up since.
func (s *Sweeper) judgeUnpaid(ctx context.Context, u subject.Unit, e order.Event, raw *jetstream.RawStreamMsg, now time.Time) (time.Time, error) {
	age := now.Sub(raw.Time)
	last, next := UnpaidLookUp(age)
	then := never
	if next > 0 {
		then = raw.Time.Add(next)
	}
	if last == 0 || age >= s.Horizon {
		return then, nil
	}
	_, stale, err := s.isStale(ctx, u, e, now, age-last)
	if err == nil && stale {
		then = again(now, e.Status)
		err = s.enqueue(ctx, reasonUnpaid, last/10, lookUpOf(e))
	}
	if err != nil {
		return now, err
	}
	return then, nil
}

// lookUpOf is the look-up of an event's payment.
func lookUpOf(e order.Event) record.ScheduledLookUp {
	return record.ScheduledLookUp{
		Provider: e.Provider, Account: e.Account, Kind: e.Kind, Payment: e.Payment, Order: e.Order,
		Cause: order.CauseSweep, Reason: string(order.CauseSweep),
	}
}

// isStale reports whether no look-up of the payment ended during the interval before now,
// and none is scheduled. If not, next is the earliest time at which that may be so: a
// look-up that ends from now on begins a new interval.
func (s *Sweeper) isStale(ctx context.Context, u subject.Unit, e order.Event, now time.Time, interval time.Duration) (next time.Time, stale bool, err error) {
	seen, err := s.Observations.Last(ctx, u)
	if err != nil {
		return now, false, err
	}
	if !e.Confirmed && !seen.Observation.Confirmed {
		return now.Add(interval), false, nil // The account of the payment has no look-up.
	}
	tried, err := s.tried(ctx, u, seen, now.Add(-interval))
	if err != nil {
		return now, false, err
	}
	if !tried.IsZero() {
		return earlier(tried, now).Add(interval), false, nil
	}
	waits, err := s.isScheduled(ctx, e.Provider, e.Account, e.Payment)
	if err != nil {
		return now, false, err
	}
	return again(now, e.Status), !waits, nil
}

// earlier is the earlier of two times. An answer may carry the time of a clock that is
// ahead, and must not delay the next look-up.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// tried is when a look-up of the unit was answered or dead-lettered, zero if that was not
// after the given time. Dead letters count, because a payment that its provider has
// forgotten would otherwise get one each round.
func (s *Sweeper) tried(ctx context.Context, u subject.Unit, seen observations.Entry, since time.Time) (time.Time, error) {
	if seen.Sequence > 0 && seen.Observation.AnsweredAt.After(since) {
		return seen.Observation.AnsweredAt, nil
	}
	for _, stage := range []string{record.StageLookup, record.StageSweep} {
		letter, err := s.DeadLetters.Last(ctx, u, stage)
		if err != nil {
			return time.Time{}, err
		}
		if letter.StoredAt.After(since) {
			return letter.StoredAt, nil
		}
	}
	return time.Time{}, nil
}

// isScheduled reports whether a look-up of the payment is scheduled or due. The scheduled
// subject is read first, because a look-up that fires moves from there to the due subject.
// A scheduled look-up that does not decode asks no provider when it fires, so it does not
// count.
func (s *Sweeper) isScheduled(ctx context.Context, provider, account, payment string) (bool, error) {
	place, err := s.Retries.Read(ctx, provider, account, payment)
	if err != nil || place.Sequence > 0 && !place.Unreadable {
		return true, err
	}
	due, err := stream.Last(ctx, s.retries, s.Tokens.Waiting(provider, account, payment).Due())
	if err != nil || due == nil {
		return false, err
	}
	// A broker that was killed may still hold a message that was acknowledged: nats-server
	// 2.15.3 (server/stream.go, internalLoop, ackq) removes it after it has confirmed the
	// ack. It is at or below the ack floor and is not delivered again. Before this may go,
	// check that a start removes such messages of a work queue.
	floor, err := consume.AckFloor(ctx, s.JS, subject.LookupRetries, subject.LookupDueConsumer(provider))
	return due.Sequence > floor, err
}

// enqueue schedules a look-up where none is scheduled, at a random time within a
// duration, so that payments that became stale together are not looked up at once.
func (s *Sweeper) enqueue(ctx context.Context, reason string, within time.Duration, p record.ScheduledLookUp) error {
	p.DueAt = s.Now().Add(time.Duration(s.Jitter() * float64(within))).UTC()
	if p.Trace == "" {
		p.Trace = trace.New() // No webhook has begun a trace.
	}
	if err := s.Retries.Schedule(ctx, retry.Fresh, p); err != nil {
		return err
	}
	s.Metrics.enqueued.WithLabelValues(p.Provider, reason).Inc()
	level := zap.InfoLevel
	if reason == reasonUnprocessed {
		level = zap.WarnLevel // The look-up of the notification was lost.
	}
	s.Log.Log(level, logEvents[reason],
		zap.String("provider", p.Provider), zap.String("account", p.Account),
		zap.String("payment", s.Tokens.Token(p.Payment)), zap.String("reason", reason), zap.Time("due_at", p.DueAt),
		zap.String("notification", p.Notification), zap.Uint64("covers", p.Covers))
	return nil
}
