package stale

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/subject"
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
