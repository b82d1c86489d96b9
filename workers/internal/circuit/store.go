// Package circuit holds the circuit breaker of each account: while the provider refuses
// an account's credential, no worker looks up its payments, and one probe at a time
// finds out whether the credential is valid again. The state is one record per account
// in the stream CIRCUITS; each change is a compare-and-append, which the broker
// republishes to every worker.
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

// The causes of a record.
const (
	causeCredential = "credential" // The provider refused the credential.
	causeAnswered   = "answered"   // A probe got an answer.
	causeOperator   = "operator"   // An operator opened or closed the circuit breaker.
	causeUnreadable = "unreadable" // The record does not decode. This cause is never written.
)

// Store holds the circuit breakers' records. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

// Open binds to CIRCUITS.
func Open(ctx context.Context, js jetstream.JetStream) (*Store, error) {
	stream, err := js.Stream(ctx, subject.Circuits)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Circuits, err)
	}
	return &Store{js: js, stream: stream}, nil
}

// entry is a record and its sequence, which the next one expects. The zero entry is
// that of an account without a record.
type entry struct {
	sequence uint64
	record.Circuit
}

// List returns every record from the stream's leader, closed ones included, the latest
// change last. An account without one has never been stopped.
func (s *Store) List(ctx context.Context) ([]record.Circuit, error) {
	entries, err := s.entries(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]record.Circuit, len(entries))
	for i, e := range entries {
		all[i] = e.Circuit
	}
	return all, nil
}

// entries reads every account's record, in the order of the stream.
func (s *Store) entries(ctx context.Context) ([]entry, error) {
	var all []entry
	_, err := stream.Each(ctx, s.stream, subject.Circuit(subject.Any, subject.Any), 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		provider, account, err := subject.ParseCircuit(raw.Subject)
		all = append(all, decoded(raw, provider, account))
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("read circuits: %w", err)
	}
	return all, nil
}

// decoded returns an account's record. A record that does not decode counts as closed, and
// the next record expects its sequence: it must neither keep workers from starting nor the
// account's circuit breaker from opening.
func decoded(raw *jetstream.RawStreamMsg, provider, account string) entry {
	e := entry{sequence: raw.Sequence}
	if json.Unmarshal(raw.Data, &e.Circuit) != nil || e.Provider != provider || e.Account != account {
		e.Circuit = record.Circuit{Provider: provider, Account: account, State: record.CircuitClosed, Cause: causeUnreadable}
	}
	return e
}

// read returns one account's record from the stream's leader.
func (s *Store) read(ctx context.Context, provider, account string) (entry, error) {
	raw, err := stream.Last(ctx, s.stream, subject.Circuit(provider, account))
	if err != nil {
		return entry{}, fmt.Errorf("read circuit: %w", err)
	}
	if raw == nil {
		return entry{Circuit: record.Circuit{Provider: provider, Account: account, State: record.CircuitClosed}}, nil
	}
	return decoded(raw, provider, account), nil
}

// write stores c behind the record with the expected sequence. stream.IsConflict
// recognizes the error if the record was changed since it was read.
func (s *Store) write(ctx context.Context, c record.Circuit, expected uint64) (entry, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return entry{}, fmt.Errorf("encode circuit: %w", err)
	}
	ack, err := s.js.Publish(ctx, subject.Circuit(c.Provider, c.Account), body, jetstream.WithExpectLastSequencePerSubject(expected))
	if err != nil {
		return entry{}, fmt.Errorf("write circuit: %w", err)
	}
	return entry{sequence: ack.Sequence, Circuit: c}, nil
}

// OpenBy stops an account's look-ups until CloseBy; there are no probes. by names the
// operator. An open circuit may be opened again.
func (s *Store) OpenBy(ctx context.Context, provider, account, by string, at time.Time) error {
	return s.writeByOperator(ctx, record.Circuit{
		Provider: provider, Account: account, State: record.CircuitOpen, Since: at.UTC(), Cause: causeOperator, By: by,
	})
}

// CloseBy lets an account's look-ups run again, whatever stopped them. Scheduled
// look-ups become due by themselves. by names the operator. A closed circuit may be
// closed again.
func (s *Store) CloseBy(ctx context.Context, provider, account, by string, at time.Time) error {
	return s.writeByOperator(ctx, record.Circuit{
		Provider: provider, Account: account, State: record.CircuitClosed, Since: at.UTC(), Cause: causeOperator, By: by,
	})
}

// writeByOperator stores c behind whatever the account's record is now: an operator's
// word wins.
func (s *Store) writeByOperator(ctx context.Context, c record.Circuit) error {
	return stream.RetryConflicts(ctx, func() error {
		now, err := s.read(ctx, c.Provider, c.Account)
		if err != nil {
			return err
		}
		_, err = s.write(ctx, c, now.sequence)
		return err
	})
}
