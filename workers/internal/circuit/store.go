// Package circuit stops the look-ups of one account whose credential the
// provider refuses, in every worker at once, and lets one at a time probe
// whether it has been mended. The circuits are records in the broker: each
// change is guarded by the record that it was decided on, and each worker
// hears of it as soon as it is stored.
package circuit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// The causes of records.
const (
	causeCredential = "credential" // The provider refused it.
	causeAnswered   = "answered"   // A probe got an answer.
	causeOperator   = "operator"   // Somebody said so.
	causeUnreadable = "unreadable" // The record does not decode. It is never written.
)

// Store is where the circuits are recorded. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

// Open finds the stream.
func Open(ctx context.Context, js jetstream.JetStream) (*Store, error) {
	stream, err := js.Stream(ctx, subject.Circuits)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Circuits, err)
	}
	return &Store{js: js, stream: stream}, nil
}

// entry is a record and its place in the stream, which guards the next one.
// The zero entry is that of an account without a record.
type entry struct {
	sequence uint64
	record.Circuit
}

// List reads every record from the stream's leader, closed ones included, the
// latest change last. An account without one has never been stopped.
func (b *Store) List(ctx context.Context) ([]record.Circuit, error) {
	entries, err := b.entries(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]record.Circuit, len(entries))
	for i, e := range entries {
		all[i] = e.Circuit
	}
	return all, nil
}

func (b *Store) entries(ctx context.Context) ([]entry, error) {
	var all []entry
	_, err := stream.Each(ctx, b.stream, subject.Circuit(subject.Any, subject.Any), 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		provider, account, err := subject.ParseCircuit(raw.Subject)
		all = append(all, decoded(raw, provider, account))
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("read circuits: %w", err)
	}
	return all, nil
}

// decoded is an account's record. One that does not decode says nothing, as if
// there were none, and guards the next one: it must not keep every worker from
// starting, nor the account from being stopped.
func decoded(raw *jetstream.RawStreamMsg, provider, account string) entry {
	e := entry{sequence: raw.Sequence}
	if json.Unmarshal(raw.Data, &e.Circuit) != nil || e.Provider != provider || e.Account != account {
		e.Circuit = record.Circuit{Provider: provider, Account: account, State: record.CircuitClosed, Cause: causeUnreadable}
	}
	return e
}

// read reads one account's record from the stream's leader.
func (b *Store) read(ctx context.Context, provider, account string) (entry, error) {
	raw, err := stream.Last(ctx, b.stream, subject.Circuit(provider, account))
	if err != nil {
		return entry{}, fmt.Errorf("read circuit: %w", err)
	}
	if raw == nil {
		return entry{Circuit: record.Circuit{Provider: provider, Account: account, State: record.CircuitClosed}}, nil
	}
	return decoded(raw, provider, account), nil
}

// write stores c in place of the record with that sequence. stream.IsConflict
// knows the error that means that the record is another one by now.
func (b *Store) write(ctx context.Context, c record.Circuit, guard uint64) (entry, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return entry{}, fmt.Errorf("encode circuit: %w", err)
	}
	ack, err := b.js.Publish(ctx, subject.Circuit(c.Provider, c.Account), body, jetstream.WithExpectLastSequencePerSubject(guard))
	if err != nil {
		return entry{}, fmt.Errorf("write circuit: %w", err)
	}
	return entry{sequence: ack.Sequence, Circuit: c}, nil
}

// OpenBy stops an account's look-ups until CloseBy; nothing probes meanwhile.
// by is who wants it. Doing it twice is allowed.
func (b *Store) OpenBy(ctx context.Context, provider, account, by string, at time.Time) error {
	return b.writeByOperator(ctx, record.Circuit{
		Provider: provider, Account: account, State: record.CircuitOpen, Since: at.UTC(), Cause: causeOperator, By: by,
	})
}

// CloseBy lets an account's look-ups run again, whoever stopped them. What is
// parked comes due by itself. by is who wants it. Doing it twice is allowed.
func (b *Store) CloseBy(ctx context.Context, provider, account, by string, at time.Time) error {
	return b.writeByOperator(ctx, record.Circuit{
		Provider: provider, Account: account, State: record.CircuitClosed, Since: at.UTC(), Cause: causeOperator, By: by,
	})
}

func (b *Store) writeByOperator(ctx context.Context, c record.Circuit) error {
	return stream.RetryConflicts(ctx, func() error {
		now, err := b.read(ctx, c.Provider, c.Account)
		if err != nil {
			return err
		}
		_, err = b.write(ctx, c, now.sequence)
		return err
	})
}
