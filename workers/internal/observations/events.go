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

// EventOf reads a message of ORDERS. It refuses a message that is no event to
// this version, and one whose body and subject disagree.
func EventOf(raw *jetstream.RawStreamMsg) (order.Event, error) {
	e, err := order.ReadEvent(raw.Data)
	if err != nil {
		return order.Event{}, err
	}
	on, err := subject.ParseEvent(raw.Subject)
	if err != nil || on.Unit.Provider != e.Provider || on.Unit.Account != e.Account || on.Status != e.Status {
		return order.Event{}, errors.New("decode event: its subject is another event's")
	}
	return e, nil
}

// Log is where a payment's order log ends. The zero Log is an empty one.
type Log struct {
	Sequence   uint64                    // Of the last message, readable or not: the guard of the next event. 0 for none.
	Last       *order.Event              // The last readable event, nil for none.
	At         uint64                    // Sequence of that event.
	Stored     time.Time                 // When that event was stored, by the broker's clock.
	Unreadable []*jetstream.RawStreamMsg // All unreadable messages of the log, ascending. Only sought when the last message is one.
}

// OrderLog reads the end of a unit's order log from the leader of ORDERS. Only
// where the last message is unreadable are the earlier ones read, too.
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
