package retention

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/orderindex"
)

// Orders compacts the order log.
type Orders struct {
	Stream  jetstream.Stream
	Index   jetstream.Stream // ORDER_PAYMENTS.
	Metrics *Metrics
	Now     func() time.Time
	After   time.Duration // For how long a payment has not moved before it is compacted.
	Remove  time.Duration // For how long it has not moved before it is removed, 0 for never.

	// Unreadable stores a dead letter about an event that does not decode.
	Unreadable func(context.Context, *jetstream.RawStreamMsg) error

	created time.Time // Creation time of ORDERS when it was walked.
	above   uint64    // The last event that was examined to compact its payment.
	removed uint64    // The last event that was examined to remove its payment.
}

// Round compacts the payments that have not moved for After, whatever their status. The
// last event stays, because it is the state of the payment and the expected sequence of
// the next event. What a consumer has not acknowledged stays too, so that each subscriber
// sees every event. Each copy of the role examines an event once.
func (o *Orders) Round(ctx context.Context) error {
	info, err := o.Stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Orders, err)
	}
	if !info.Created.Equal(o.created) || o.above > info.State.LastSeq {
		o.created, o.above, o.removed = info.Created, 0, 0 // ORDERS was created again, or restored from an older copy.
	}
	floor, err := o.floor(ctx, info.State.LastSeq)
	if err != nil {
		return err
	}
	if o.above, err = o.walk(ctx, o.above, floor, o.After, o.compact); err != nil {
		return fmt.Errorf("compact payments: %w", err)
	}
	if o.Remove == 0 {
		return nil
	}
	if o.removed, err = o.walk(ctx, o.removed, floor, o.Remove, o.remove); err != nil {
		return fmt.Errorf("remove payments: %w", err)
	}
	return nil
}

// walk calls do for each event above a sequence that is older than age, up to floor.
func (o *Orders) walk(ctx context.Context, above, floor uint64, age time.Duration, do func(context.Context, *jetstream.RawStreamMsg) error) (uint64, error) {
	old := o.Now().Add(-age)
	return stream.Each(ctx, o.Stream, stream.All, above, func(raw *jetstream.RawStreamMsg) (bool, error) {
		if !raw.Time.Before(old) || raw.Sequence > floor {
			return false, nil
		}
		return true, do(ctx, raw)
	})
}

// remove removes all events of a payment if raw is the last one, and then its entries in the
// index of orders. An event that is appended meanwhile is above raw and stays, and so do the
// entries then. An unreadable last event stays: it has a dead letter.
func (o *Orders) remove(ctx context.Context, raw *jetstream.RawStreamMsg) error {
	e, err := observations.EventOf(raw)
	if err != nil {
		return o.Unreadable(ctx, raw)
	}
	on, err := subject.ParseEvent(raw.Subject)
	if err != nil {
		return err
	}
	events := on.Unit.Events()
	last, err := stream.Last(ctx, o.Stream, events)
	if err != nil || last == nil || last.Sequence != raw.Sequence {
		return err
	}
	if err := o.report(ctx, events, last.Sequence); err != nil {
		return err
	}
	entries, err := o.entries(ctx, on.Unit)
	if err != nil {
		return err
	}
	if err := o.Stream.Purge(ctx, jetstream.WithPurgeSubject(events), jetstream.WithPurgeSequence(last.Sequence+1)); err != nil {
		return fmt.Errorf("remove events up to %d: %w", last.Sequence, err)
	}
	o.Metrics.removed.WithLabelValues(e.Provider).Inc()
	if last, err = stream.NextOrNone(ctx, o.Stream, events, 0); err != nil || last != nil {
		return err
	}
	for _, entry := range entries {
		if err := orderindex.Remove(ctx, o.Index, entry); err != nil {
			return err
		}
	}
	return nil
}

// entries reads a payment's entries in the index, of the orders that its events name.
func (o *Orders) entries(ctx context.Context, u subject.Unit) (all []orderindex.Entry, err error) {
	info, err := o.Stream.Info(ctx, jetstream.WithSubjectFilter(u.Events()))
	if err != nil {
		return nil, fmt.Errorf("list subjects of a payment: %w", err)
	}
	orders := map[string]bool{}
	for name := range info.State.Subjects {
		on, err := subject.ParseEvent(name)
		if err != nil {
			return nil, err
		}
		if orders[on.Order] {
			continue
		}
		orders[on.Order] = true
		entry, err := orderindex.Read(ctx, o.Index, on.Order, u)
		if err != nil {
			return nil, err
		}
		all = append(all, entry)
	}
	return all, nil
}

// floor is the sequence up to which every consumer has acknowledged all events. last is the
// stream's last sequence, read before. A consumer for which nothing is pending has
// acknowledged everything up to it: its filter may have let nothing through for long. In a
// cluster a consumer's leader may not know the newest events; what is compacted is older by
// After, an hour at least.
func (o *Orders) floor(ctx context.Context, last uint64) (uint64, error) {
	consumers, err := consumersOf(ctx, o.Stream, subject.Orders)
	if err != nil {
		return 0, err
	}
	floor := last
	for _, consumer := range consumers {
		if consumer.NumPending > 0 || consumer.NumAckPending > 0 {
			floor = min(floor, consumer.AckFloor.Stream)
		}
	}
	return floor, nil
}

// compact removes the events below raw if raw is the payment's last event. A transition
// that is appended meanwhile is above raw and stays.
func (o *Orders) compact(ctx context.Context, raw *jetstream.RawStreamMsg) error {
	e, err := observations.EventOf(raw)
	if err != nil {
		return o.Unreadable(ctx, raw) // Other payments are compacted all the same.
	}
	if e.Transition == 1 || e.Correction { // Only the events before a correction say whether the payment was ever paid.
		return nil
	}
	on, err := subject.ParseEvent(raw.Subject)
	if err != nil {
		return err
	}
	events := on.Unit.Events()
	first, err := stream.Next(ctx, o.Stream, events, 0)
	if err != nil {
		return err
	}
	if first == nil || first.Sequence == raw.Sequence {
		return nil // The order log is compacted already, like most when a copy of the role starts.
	}
	last, err := stream.Last(ctx, o.Stream, events)
	if err != nil || last == nil || last.Sequence != raw.Sequence {
		return err
	}
	if err := o.report(ctx, events, last.Sequence); err != nil {
		return err
	}
	if err := o.Stream.Purge(ctx, jetstream.WithPurgeSubject(events), jetstream.WithPurgeSequence(last.Sequence)); err != nil {
		return fmt.Errorf("remove events below %d: %w", last.Sequence, err)
	}
	o.Metrics.compacted.WithLabelValues(e.Provider).Inc()
	return nil
}

// report stores dead letters about the events below a sequence that do not decode,
// before they are removed.
func (o *Orders) report(ctx context.Context, events string, below uint64) error {
	return stream.EachFew(ctx, o.Stream, events, 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		if raw.Sequence >= below {
			return false, nil
		}
		if _, err := observations.EventOf(raw); err != nil {
			return true, o.Unreadable(ctx, raw)
		}
		return true, nil
	})
}
