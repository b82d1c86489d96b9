package stale

import (
	"context"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/duequeue"
	"arauto/workers/internal/observations"
)

const (
	// maxRead is how many events a round reads: about half a minute's work. A guess.
	maxRead = 1_000_000
	// maxJudged is how many payments a round judges: about a quarter of a minute's work. A
	// guess.
	maxJudged = 50_000
)

// walk is what the sweeper remembers of ORDERS. It is read once, in the order of
// sequences, over several rounds where there is much. A payment that may have to be judged
// takes about 90 bytes of memory, and no other one takes any.
type walk struct {
	above    uint64              // The last sequence that was read.
	last     map[uint64]lastSeen // By payment, as unitKey makes its key.
	moving   duequeue.Queue      // The payments that should leave their status soon, by when to judge them.
	resting  duequeue.Queue      // The others.
	unstored []uint64            // Events that do not decode and whose dead letters could not be stored, ascending.
	missing  missing             // Last events, and those of unstored, that the broker did not find.
}

func newWalk() walk { return walk{last: map[uint64]lastSeen{}, missing: missing{}} }

// lastSeen is the last event of a payment that was read. An entry of a queue with another
// time is outdated.
type lastSeen struct {
	sequence uint64
	due      int64  // When to judge the payment, in nanoseconds since 1970.
	moved    uint32 // When the event was stored, in seconds since 1970.
	group    uint16
}

// seed makes the payments' keys of this process.
var seed = maphash.MakeSeed()

// unitKey is a hash of 64 bits: two of ten million payments share one in one of 370,000
// deployments. Then the payment that moved last hides the other.
func unitKey(u subject.Unit) uint64 { return maphash.Comparable(seed, u) }

// resetIfRecreated drops the memory when ORDERS was created again, or restored from an
// older copy: its sequences name other messages.
func (s *Sweeper) resetIfRecreated(ctx context.Context) error {
	info, err := s.orders.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Orders, err)
	}
	if !info.Created.Equal(s.created) || s.walk.above > info.State.LastSeq {
		s.created, s.walk = info.Created, newWalk()
	}
	return nil
}

// read reads the events that are new, at most maxRead. ended reports whether it has read
// all that there are, so that each payment's last event is known.
func (s *Sweeper) read(ctx context.Context, failed *failures) (ended bool, err error) {
	left := s.maxRead
	above, err := stream.Each(ctx, s.orders, stream.All, s.walk.above, func(raw *jetstream.RawStreamMsg) (bool, error) {
		if left == 0 {
			return false, nil
		}
		left--
		return true, s.note(ctx, raw, failed)
	})
	s.walk.above = above
	return left > 0, err
}

// note remembers when to judge the payment of an event. An event that does not decode gets
// a dead letter, and its payment goes on from the event before.
func (s *Sweeper) note(ctx context.Context, raw *jetstream.RawStreamMsg, failed *failures) error {
	e, err := observations.EventOf(raw)
	if err != nil {
		if err := s.Unreadable(ctx, raw); err != nil {
			failed.note(raw.Sequence, err)
			s.walk.unstored = append(s.walk.unstored, raw.Sequence)
		}
		return nil
	}
	unit, err := subject.ParseUnit(raw.Subject)
	if err == nil {
		s.remember(unit, e.Status, raw, s.firstDue(e, raw.Time))
	}
	return err
}

// remember notes that a payment is to be judged at a time, never for not at all.
func (s *Sweeper) remember(u subject.Unit, status order.Status, raw *jetstream.RawStreamMsg, due time.Time) {
	key := unitKey(u)
	delete(s.walk.missing, s.walk.last[key].sequence) // It is not read again.
	if due.Equal(never) {
		delete(s.walk.last, key)
		return
	}
	s.walk.last[key] = lastSeen{
		raw.Sequence, due.UnixNano(), uint32(raw.Time.Unix()), s.groups.number(group{u.Provider, status}),
	}
	queue := &s.walk.resting
	if moves(status) {
		queue = &s.walk.moving
	}
	queue.Add(key, due)
}

// storeAgain stores the dead letters that could not be stored before.
func (s *Sweeper) storeAgain(ctx context.Context, failed *failures) error {
	sequences := s.walk.unstored
	s.walk.unstored = nil
	for _, sequence := range sequences {
		raw, err := s.orders.GetMsg(ctx, sequence)
		isMissing, isGone := s.walk.missing.note(sequence, err, s.Now())
		if isGone {
			continue
		}
		if isMissing {
			s.walk.unstored = append(s.walk.unstored, sequence)
			continue
		}
		if err == nil {
			err = s.Unreadable(ctx, raw)
		}
		if err != nil {
			failed.note(sequence, err)
			s.walk.unstored = append(s.walk.unstored, sequence)
		}
	}
	return ctx.Err()
}

// judgeDue judges the due payments, moving ones before resting ones, at most maxJudged. Each is judged once: what a judgement adds to a queue is due later, or in the
// next round.
func (s *Sweeper) judgeDue(ctx context.Context, failed *failures) error {
	left, now := s.maxJudged, s.Now()
	var again []func()
	defer func() {
		for _, add := range again {
			add()
		}
	}()
	for _, queue := range []*duequeue.Queue{&s.walk.moving, &s.walk.resting} {
		for left > 0 {
			key, at, ok := queue.First()
			if !ok || at.After(now) {
				break
			}
			seen, known := s.walk.last[key]
			if !known || seen.due != at.UnixNano() {
				queue.Drop() // The payment has a later event.
				continue
			}
			left--
			raw, err := s.orders.GetMsg(ctx, seen.sequence)
			isMissing, isGone := s.walk.missing.note(seen.sequence, err, now)
			if err != nil && !isMissing {
				return fmt.Errorf("read event %d: %w", seen.sequence, err)
			}
			queue.Drop()
			delete(s.walk.last, key)
			if isGone {
				continue // The payment was removed.
			}
			if isMissing {
				due := now.Add(missingFor)
				seen.due = due.UnixNano()
				s.walk.last[key] = seen
				queue.Add(key, due)
				continue
			}
			add, err := s.judgeEvent(ctx, raw)
			failed.note(seen.sequence, err)
			again = append(again, add)
		}
	}
	return ctx.Err()
}

// judgeEvent judges the payment of its last event. remember notes when to judge it again.
func (s *Sweeper) judgeEvent(ctx context.Context, raw *jetstream.RawStreamMsg) (remember func(), err error) {
	unit, err := subject.ParseUnit(raw.Subject)
	if err != nil {
		return func() {}, err
	}
	e, err := observations.EventOf(raw)
	if err != nil {
		return func() {}, err
	}
	due, err := s.judge(ctx, unit, e, raw)
	return func() { s.remember(unit, e.Status, raw, due) }, err
}

// failures collects the messages that could not be judged in a round, which goes on: the
// cause may be one message that does not decode.
type failures struct {
	count int
	first error
}

func (f *failures) note(sequence uint64, err error) {
	if err == nil {
		return
	}
	if f.count++; f.first == nil {
		f.first = fmt.Errorf("judge %d: %w", sequence, err)
	}
}

// err is nil when every message was judged.
func (f *failures) err() error {
	if f.first == nil {
		return nil
	}
	return fmt.Errorf("%d could not be judged, the first: %w", f.count, f.first)
}

// Unreadable stores a dead letter about a message of ORDERS that does not decode. It may
// run concurrently with the other methods.
func (s *Sweeper) Unreadable(ctx context.Context, raw *jetstream.RawStreamMsg) error {
	unit, err := subject.ParseUnit(raw.Subject)
	if err != nil {
		return err
	}
	log, err := observations.OrderLog(ctx, s.orders, unit)
	if err != nil {
		return err
	}
	return s.deadLetter(ctx, unit, raw, log.Last)
}

// deadLetter is Unreadable with the unit's last readable event, nil for none.
func (s *Sweeper) deadLetter(ctx context.Context, u subject.Unit, raw *jetstream.RawStreamMsg, last *order.Event) error {
	fresh, err := s.DeadLetters.Event(ctx, u, record.StageSweep, raw, last, s.Now())
	if err == nil && fresh {
		s.Metrics.unreadable.Inc()
		s.Log.Error("event.unreadable", zap.String("unit", u.String()), zap.Uint64("sequence", raw.Sequence))
	}
	return err
}
