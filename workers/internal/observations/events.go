package observations

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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
	if !strings.HasPrefix(raw.Subject, "orders."+e.Provider+"."+e.Account+".") || !strings.HasSuffix(raw.Subject, "."+string(e.Status)) {
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
	raw, err := orders.GetLastMsgForSubject(ctx, u.Events())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Log{}, nil
	}
	if err != nil {
		return Log{}, fmt.Errorf("read last event: %w", err)
	}
	var log Log
	if log.add(raw); log.Last != nil {
		return log, nil
	}
	log = Log{}
	for {
		raw, err := orders.GetMsg(ctx, log.Sequence+1, jetstream.WithGetMsgSubject(u.Events()))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return log, nil
		}
		if err != nil {
			return Log{}, fmt.Errorf("read event above %d: %w", log.Sequence, err)
		}
		log.add(raw)
	}
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
