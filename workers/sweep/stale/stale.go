// Package stale finds payments of which nothing is heard although something
// should be, and makes them due for a look-up: those that are not final and
// have been silent too long, those that ended without money, at some ages, and
// notifications that left no trace.
//
// It keeps no state that matters. Parking is create-only, so any number of
// copies may look through the same payments, and die anywhere.
//
// What it reads, one message at a time and from the leaders: per state, the
// events of ORDERS that led to it (by next-by-subject on
// orders.*.*.*.*.<state>, so other final payments cost nothing). Each is read once when
// it is new, and again only when its payment may have been silent for too long;
// between the two it costs 16 bytes of memory. Then it costs the payment's last
// event, and one that is not the last is forgotten, because it never will be
// again; else the payment's last observation, and only where that is old too its
// last dead letters and what is parked.
package stale

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// Options are what a sweeper needs.
type Options struct {
	JS           jetstream.JetStream
	Tokens       subject.Tokens
	Retries      *retry.Store
	Observations *observations.Store
	DeadLetters  *deadletter.Store
	Log          *zap.Logger
	Metrics      *Metrics
	Now          func() time.Time
	Jitter       func() float64 // From 0 to 1; spreads what would come due at once.
	Horizon      time.Duration  // After that long in one state a payment is not asked for again.
}

// Sweeper makes silent payments due. Its methods must not run concurrently
// with themselves; several sweepers may.
type Sweeper struct {
	Options
	notifications jetstream.Stream
	retries       jetstream.Stream
	orders        jetstream.Stream
	dead          jetstream.Stream

	created time.Time // Of ORDERS, when it was read.
	states  map[order.Status]*state
	judged  map[string]judged // By provider.
	letters letters
}

// New finds the streams and returns a sweeper.
func New(ctx context.Context, o Options) (*Sweeper, error) {
	s := &Sweeper{Options: o, states: map[order.Status]*state{}, judged: map[string]judged{}}
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

// Round looks through the payments of every state whose time has come. One that
// cannot be judged keeps nobody from the others; it is told of, and judged again
// in the next round.
func (s *Sweeper) Round(ctx context.Context) error {
	if err := s.resetIfRecreated(ctx); err != nil {
		return err
	}
	var all []error
	for _, status := range slices.Concat(slices.Sorted(maps.Keys(cadence)), unpaid) {
		one := s.states[status]
		if one == nil {
			one = &state{}
			s.states[status] = one
		}
		now := s.Now()
		if now.Sub(one.walked) < pace(status) {
			continue
		}
		if err := s.lookThrough(ctx, status, one); err != nil {
			all = append(all, fmt.Errorf("look through payments that are %s: %w", status, err))
			continue
		}
		one.walked = now
	}
	return errors.Join(all...)
}

// never is when to look again at what can never be due any more.
var never time.Time

// judge makes the payment of one event due if the event is its last and it
// has been silent for too long. It returns when that may next be so. The cheap
// reasons not to come first.
func (s *Sweeper) judge(ctx context.Context, raw *jetstream.RawStreamMsg) (time.Time, error) {
	now := s.Now()
	unit, err := subject.ParseUnit(raw.Subject)
	if err != nil {
		return never, err
	}
	e, err := observations.EventOf(raw)
	if err != nil {
		if err := s.Unreadable(ctx, raw); err != nil {
			return now, err
		}
		return never, nil // It must not keep the payments behind it from being looked at.
	}
	age := now.Sub(raw.Time)
	if slices.Contains(unpaid, e.Status) {
		return s.judgeUnpaid(ctx, unit, e, raw, now)
	}
	every := Every(e.Status, age)
	if e.Final || every == 0 || age >= s.Horizon {
		return never, nil
	}
	if age < every {
		return raw.Time.Add(every), nil
	}
	next, silent, err := s.lookUpStale(ctx, unit, e, raw, now, every)
	if err != nil || !silent {
		return next, err
	}
	return now, s.enqueue(ctx, reasonSilent, every/10, asking(e))
}

// judgeUnpaid makes a payment that ended without money due at the ages of looks,
// unless it was asked for since.
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
	moved, silent, err := s.lookUpStale(ctx, u, e, raw, now, age-last)
	switch {
	case err != nil:
		return now, err
	case silent:
		return now, s.enqueue(ctx, reasonUnpaid, last/10, asking(e))
	case moved == never:
		return never, nil
	}
	return then, nil
}

// asking is the look-up of an event's payment.
func asking(e order.Event) record.ScheduledLookUp {
	return record.ScheduledLookUp{
		Provider: e.Provider, Account: e.Account, Kind: e.Kind, Payment: e.Payment, Order: e.Order,
		Cause: order.CauseSweep, Reason: string(order.CauseSweep),
	}
}

// lookUpStale reports whether the event is its payment's last readable one, nothing has
// been tried for the payment during the pause before now, and nothing waits to be.
// If not, next is when that may be so at the earliest: whatever is tried from now
// on begins a new pause.
func (s *Sweeper) lookUpStale(ctx context.Context, u subject.Unit, e order.Event, event *jetstream.RawStreamMsg, now time.Time, pause time.Duration) (next time.Time, silent bool, err error) {
	log, err := observations.OrderLog(ctx, s.orders, u)
	if err != nil || log.At < event.Sequence {
		return now, false, err // Lower, or nothing: whoever answered has yet to catch up.
	}
	for _, raw := range log.Unreadable {
		if err := s.deadLetter(ctx, u, raw, log.Last); err != nil {
			return now, false, err
		}
	}
	if log.At > event.Sequence {
		return never, false, nil
	}
	seen, err := s.Observations.Last(ctx, u)
	if err != nil {
		return now, false, err
	}
	if !e.Confirmed && !seen.Observation.Confirmed {
		return now.Add(pause), false, nil // It was only ever believed: nobody can be asked.
	}
	tried, err := s.tried(ctx, u, seen, now.Add(-pause))
	if err != nil {
		return now, false, err
	}
	if !tried.IsZero() {
		return earlier(tried, now).Add(pause), false, nil
	}
	waits, err := s.isScheduled(ctx, e.Provider, e.Account, e.Payment)
	return now, err == nil && !waits, err
}

// earlier is the earlier of two times. The clock of whoever answered may be
// ahead, and must not put off the next look.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// tried is when a look-up of the unit was answered or became a dead letter, if
// that was after a time; else it is zero. Giving up was a try, else a payment
// that its provider has forgotten would make a dead letter each round.
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

// isScheduled reports whether a look-up of the payment is parked or due. In this
// order, because that is how it moves: what fires in between is seen. One that
// does not decode is no look-up: it asks nobody when it fires.
func (s *Sweeper) isScheduled(ctx context.Context, provider, account, payment string) (bool, error) {
	place, err := s.Retries.Read(ctx, provider, account, payment)
	if err != nil || place.Sequence > 0 && !place.Unreadable {
		return true, err
	}
	due, err := stream.Last(ctx, s.retries, s.Tokens.Waiting(provider, account, payment).Due())
	if err != nil || due == nil {
		return false, err
	}
	// A broker that was killed may keep a message that was acknowledged; it is
	// below the floor, nobody will handle it, and it must not stand for work.
	floor, err := consume.AckFloor(ctx, s.JS, subject.LookupRetries, subject.LookupDueConsumer(provider))
	return due.Sequence > floor, err
}

// enqueue parks a look-up where nothing is parked, somewhere within a while, so
// that what fell silent together is not asked for at once.
func (s *Sweeper) enqueue(ctx context.Context, reason string, within time.Duration, p record.ScheduledLookUp) error {
	p.DueAt = s.Now().Add(time.Duration(s.Jitter() * float64(within))).UTC()
	if p.Trace == "" {
		p.Trace = trace.New() // No webhook began one.
	}
	if err := s.Retries.Schedule(ctx, p); err != nil {
		return err
	}
	s.Metrics.made(p.Provider, reason)
	s.Log.Info("made due",
		zap.String("provider", p.Provider), zap.String("account", p.Account),
		zap.String("payment", s.Tokens.Token(p.Payment)), zap.String("reason", reason), zap.Time("due_at", p.DueAt))
	return nil
}
