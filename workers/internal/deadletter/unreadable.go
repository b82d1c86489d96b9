package deadletter

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Event stores a stage's dead letter about a message of ORDERS that does not decode,
// unless any stage has stored one. last is the payment's last readable event, nil for
// none. stored reports whether this call stored it.
func (s *Store) Event(ctx context.Context, u subject.Unit, stage string, raw *jetstream.RawStreamMsg, last *order.Event, at time.Time) (stored bool, err error) {
	id := ID(subject.Orders, raw.Sequence)
	entries, err := s.LatestOf(ctx, u, subject.Any)
	if err != nil {
		return false, err
	}
	created, err := s.created(ctx, subject.Orders)
	if err != nil || slices.ContainsFunc(entries, func(l Entry) bool { return l.ID == id && l.ComparableWith(created) }) {
		return false, err
	}
	l := record.DeadLetter{
		ID: id, Class: record.ClassOurs, Stage: stage, Provider: u.Provider, Account: u.Account, Payment: u.Payment,
		Cause: "stored event does not decode", LastAnswer: record.NoAnswer, Stream: subject.Orders, Sequence: raw.Sequence,
		Next: "compare the versions of the workers; the payment goes on from its last readable event, so compare its status with the provider's panel, then discard",
		At:   at.UTC(),
	}
	if last != nil {
		l.Kind, l.Payment, l.Order = last.Kind, last.Payment, last.Order
	}
	return s.put(ctx, u, l, id, func(l Entry) bool { return l.ID == id })
}
