package observations

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// EventOf decodes a message of ORDERS. It refuses a document that is no event to this
// version, and one whose subject belongs to another event.
func EventOf(raw *jetstream.RawStreamMsg) (order.Event, error) {
	e, err := order.ReadEvent(raw.Data)
	if err != nil {
		return order.Event{}, err
	}
	on, err := subject.ParseEvent(raw.Subject)
	if err != nil || on.Unit.Provider != e.Provider || on.Unit.Account != e.Account || on.Status != e.Status {
		return order.Event{}, errors.New("decode event: the subject belongs to another event")
	}
	return e, nil
}

// Log is the end of a payment's order log. The zero Log is an empty one.
type Log struct {
	Sequence   uint64                    // Of the last message, readable or not, which the next event expects; 0 for none.
	Last       *order.Event              // The last readable event, nil for none.
	At         uint64                    // Sequence of that event.
	Stored     time.Time                 // When that event was stored, by the broker's clock.
	Unreadable []*jetstream.RawStreamMsg // All unreadable messages of the log, ascending; only filled in when the last message is one.
}

// OrderLog reads the end of a unit's order log from the leader of ORDERS. It reads the
// earlier messages only if the last one is unreadable.
func OrderLog(ctx context.Context, orders jetstream.Stream, u subject.Unit) (Log, error) {
	raw, err := stream.Last(ctx, orders, u.Events())
	if err != nil || raw == nil {
		return Log{}, err
	}
	var log Log
	if log.add(raw); log.Last != nil {
		return log, nil
	}
	log = Log{}
	_, err = stream.Each(ctx, orders, u.Events(), 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		log.add(raw)
		return true, nil
	})
	if err != nil {
		return Log{}, err
	}
	return log, nil
}

// add moves the end of the log to a message.
func (l *Log) add(raw *jetstream.RawStreamMsg) {
	l.Sequence = raw.Sequence
	e, err := EventOf(raw)
	if err != nil {
		l.Unreadable = append(l.Unreadable, raw)
		return
	}
	l.Last, l.At, l.Stored = &e, raw.Sequence, raw.Time
}
