package stale

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
	"arauto/workers/sweep/duequeue"
)

// state is the cache of the events that led to one status. Reading them once rebuilds it.
type state struct {
	walked time.Time      // When its events were last examined.
	above  uint64         // The last sequence that was read.
	live   duequeue.Queue // The events that may be their payment's last one.
}

// resetIfRecreated drops the cache when ORDERS was created again, or restored from an
// older copy: its sequences name other messages.
func (s *Sweeper) resetIfRecreated(ctx context.Context) error {
	info, err := s.orders.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Orders, err)
	}
	same := info.Created.Equal(s.created)
	for _, one := range s.states {
		same = same && one.above <= info.State.LastSeq
	}
	if !same {
		s.created, s.states = info.Created, map[order.Status]*state{}
	}
	return nil
}

// lookThrough judges the due and the new events of a status.
func (s *Sweeper) lookThrough(ctx context.Context, status order.Status, one *state) error {
	var failed failures
	if err := s.revisit(ctx, one, &failed); err != nil {
		return err
	}
	_, err := stream.Each(ctx, s.orders, subject.EventsOf(status), one.above, func(raw *jetstream.RawStreamMsg) (bool, error) {
		next, err := s.judge(ctx, raw)
		failed.note(raw.Sequence, err)
		one.above = raw.Sequence
		if !next.IsZero() {
			one.live.Add(raw.Sequence, next)
		}
		return true, nil
	})
	return errors.Join(err, failed.err())
}

// revisit judges the events that are due. An event leaves the queue when it is judged and
// is added again after all are, so that none is lost and none is judged twice.
func (s *Sweeper) revisit(ctx context.Context, one *state, failed *failures) error {
	type visit struct {
		sequence uint64
		at       time.Time
	}
	var later []visit
	defer func() {
		for _, v := range later {
			one.live.Add(v.sequence, v.at)
		}
	}()
	now := s.Now()
	for {
		sequence, at, ok := one.live.First()
		if !ok || at.After(now) {
			return nil
		}
		raw, err := s.orders.GetMsg(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			one.live.Drop() // The event was compacted: the payment has a later one.
			continue
		}
		if err != nil {
			return fmt.Errorf("read event %d: %w", sequence, err)
		}
		next, err := s.judge(ctx, raw)
		failed.note(sequence, err)
		one.live.Drop()
		if !next.IsZero() {
			later = append(later, visit{sequence, next})
		}
	}
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
