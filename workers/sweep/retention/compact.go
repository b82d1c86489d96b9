package retention

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
)

// Orders compacts the order log.
type Orders struct {
	Stream  jetstream.Stream
	Metrics *Metrics
	Now     func() time.Time
	After   time.Duration // For how long a payment has been final before it is compacted.

	// Unreadable stores a dead letter about an event that does not decode.
	Unreadable func(context.Context, *jetstream.RawStreamMsg) error

	seen map[order.Status]uint64 // The last event of a status that was examined.
}

// Round compacts the payments that became final longer than After ago. The last event
// stays, because it is the state of the payment and the expected sequence of the next
// event. Each copy of the role examines an event once.
func (o *Orders) Round(ctx context.Context) error {
	if o.seen == nil {
		o.seen = map[order.Status]uint64{}
	}
	old := o.Now().Add(-o.After)
	var all []error
	for _, status := range finals() {
		above, err := stream.Each(ctx, o.Stream, subject.EventsOf(status), o.seen[status], func(raw *jetstream.RawStreamMsg) (bool, error) {
			if !raw.Time.Before(old) {
				return false, nil
			}
			return true, o.compact(ctx, raw)
		})
		o.seen[status] = above
		if err != nil {
			all = append(all, fmt.Errorf("compact payments that are %s: %w", status, err))
		}
	}
	return errors.Join(all...)
}

// finals lists the statuses that are final for any kind of payment.
func finals() []order.Status {
	var all []order.Status
	for _, kind := range order.Kinds() {
		for _, s := range kind.Statuses() {
			if kind.Final(s) && !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// compact removes the events below raw if raw is final and the payment's last event. A
// transition that is appended meanwhile is above raw and stays.
func (o *Orders) compact(ctx context.Context, raw *jetstream.RawStreamMsg) error {
	e, err := observations.EventOf(raw)
	if err != nil {
		return o.Unreadable(ctx, raw) // Other payments are compacted all the same.
	}
	if !e.Final || e.Transition == 1 {
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
	_, err := stream.Each(ctx, o.Stream, events, 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		if raw.Sequence >= below {
			return false, nil
		}
		if _, err := observations.EventOf(raw); err != nil {
			return true, o.Unreadable(ctx, raw)
		}
		return true, nil
	})
	return err
}
