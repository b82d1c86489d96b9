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

// state is what a sweeper remembers of the events that led to a state, so that
// it reads an event again only when its payment may be due. All of it is rebuilt
// by reading them once.
type state struct {
	walked time.Time      // When it was last looked through.
	above  uint64         // Up to where its events have been read.
	live   duequeue.Queue // Those that may still be their payment's last.
}

// resetIfRecreated makes sure that what is remembered is about the stream as it is. One
// that was recreated or brought back from a copy gives its numbers out a second
// time.
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

// lookThrough judges the events that led to a state and may be due, and those
// that are new.
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

// revisit judges the events whose time has come. Each leaves the list only when
// it is judged, and comes back to it only when all are, so that none is lost
// and none is judged twice.
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
			one.live.Drop() // Compacted: the payment has moved on.
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

// failures are what could not be judged in a round. They keep nobody from the
// others, because the reason may be their own: something stored that does not
// decode.
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

// err is nil when all were judged.
func (f *failures) err() error {
	if f.first == nil {
		return nil
	}
	return fmt.Errorf("%d could not be judged, the first: %w", f.count, f.first)
}
