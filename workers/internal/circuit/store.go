// Package circuit stops the look-ups of one account whose credential the
// provider refuses, in every worker at once, and lets one at a time probe
// whether it has been mended. The circuits are records in the broker: each
// change is guarded by the record that it was decided on, and each worker
// hears of it as soon as it is stored.
package circuit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
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
	for next := uint64(1); ; {
		raw, err := b.stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject.Circuit(subject.Any, subject.Any)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read circuit above %d: %w", next, err)
		}
		provider, account, err := subject.ParseCircuit(raw.Subject)
		if err != nil {
			return nil, fmt.Errorf("read circuit %d: %w", raw.Sequence, err)
		}
		all, next = append(all, decoded(raw, provider, account)), raw.Sequence+1
	}
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
	raw, err := b.stream.GetLastMsgForSubject(ctx, subject.Circuit(provider, account))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return entry{Circuit: record.Circuit{Provider: provider, Account: account, State: record.CircuitClosed}}, nil
	}
	if err != nil {
		return entry{}, fmt.Errorf("read circuit: %w", err)
	}
	return decoded(raw, provider, account), nil
}

// errConflict means that somebody else changed the circuit meanwhile.
var errConflict = errors.New("somebody else changed the circuit meanwhile")

// write stores c in place of the record with that sequence.
func (b *Store) write(ctx context.Context, c record.Circuit, guard uint64) (entry, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return entry{}, fmt.Errorf("encode circuit: %w", err)
	}
	ack, err := b.js.Publish(ctx, subject.Circuit(c.Provider, c.Account), body, jetstream.WithExpectLastSequencePerSubject(guard))
	if observations.IsConflict(err) {
		return entry{}, errConflict
	}
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

// conflicts bounds how often a decree is written anew because a worker came
// between.
const conflicts = 20

func (b *Store) writeByOperator(ctx context.Context, c record.Circuit) error {
	for range conflicts {
		now, err := b.read(ctx, c.Provider, c.Account)
		if err != nil {
			return err
		}
		if _, err := b.write(ctx, c, now.sequence); !errors.Is(err, errConflict) {
			return err
		}
	}
	return fmt.Errorf("set circuit: %w", errConflict)
}
