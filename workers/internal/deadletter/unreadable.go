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

// Event stores a letter of a stage about a message of ORDERS that does not
// decode, unless any stage has written one about it, whatever became of that.
// last is the payment's last readable event, nil for none. fresh reports whether
// this call has stored the letter.
func (b *Store) Event(ctx context.Context, u subject.Unit, stage string, raw *jetstream.RawStreamMsg, last *order.Event, at time.Time) (fresh bool, err error) {
	id := ID(subject.Orders, raw.Sequence)
	letters, err := b.Latest(ctx, u.DeadLetter(subject.Any, subject.Any))
	if err != nil || slices.ContainsFunc(letters, func(l Entry) bool { return l.ID == id }) {
		return false, err
	}
	letter := record.DeadLetter{
		ID: id, Class: record.ClassOurs, Stage: stage, Provider: u.Provider, Account: u.Account, Payment: u.Payment,
		Cause: "stored event does not decode", LastAnswer: record.NoAnswer, Stream: subject.Orders, Sequence: raw.Sequence,
		Next: "compare the versions of the workers; the payment goes on from its last readable event, so compare its status with the provider's panel, then discard",
		At:   at.UTC(),
	}
	if last != nil {
		letter.Kind, letter.Payment, letter.Order = last.Kind, last.Payment, last.Order
	}
	return b.put(ctx, u, letter, id, func(l Entry) bool { return l.ID == id })
}
