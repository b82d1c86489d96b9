package breaker

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

// List returns every record from the stream's leader, closed ones included, the latest
// change last. A scope without one has never been stopped.
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

// entries reads every record, in the order of the stream.
func (s *Store) entries(ctx context.Context) ([]entry, error) {
	var all []entry
	err := stream.EachOrFail(ctx, s.stream, subject.Circuit(subject.Any, subject.Any), func(raw *jetstream.RawStreamMsg) error {
		provider, account, err := subject.ParseCircuit(raw.Subject)
		all = append(all, decoded(raw, provider, account))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read circuits: %w", err)
	}
	return all, nil
}

// decoded returns a scope's record. A record that does not decode counts as closed, and
// the next record expects its sequence: it must neither keep workers from starting nor the
// circuit breaker from opening.
func decoded(raw *jetstream.RawStreamMsg, provider, account string) entry {
	e := entry{sequence: raw.Sequence, at: raw.Time}
	if json.Unmarshal(raw.Data, &e.Circuit) != nil || e.Provider != provider || e.Account != account {
		e.Circuit = record.Circuit{Provider: provider, Account: account, State: record.CircuitClosed, Cause: causeUnreadable}
	}
	if e.Since.IsZero() {
		e.Since = raw.Time.UTC()
	}
	return e
}

// read returns one scope's record from the stream's leader.
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
// recognizes the error if the record was changed since it was read. now estimates when the
// broker stored it.
func (s *Store) write(ctx context.Context, c record.Circuit, expected uint64, now time.Time) (entry, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return entry{}, fmt.Errorf("encode circuit: %w", err)
	}
	ack, err := s.js.Publish(ctx, subject.Circuit(c.Provider, c.Account), body, jetstream.WithExpectLastSequencePerSubject(expected))
	if err != nil {
		return entry{}, fmt.Errorf("write circuit: %w", err)
	}
	return entry{sequence: ack.Sequence, at: now, Circuit: c}, nil
}

// OpenBy stops an account's look-ups until CloseBy; there are no probes. by names the
// operator. An open circuit may be opened again.
func (s *Store) OpenBy(ctx context.Context, provider, account, by string) error {
	return s.writeByOperator(ctx, stopped, provider, account, by)
}

// CloseBy lets an account's or a host's look-ups run again, whatever stopped them.
// The workers bring the look-ups forward that wait for it. by names the operator. A closed circuit may
// be closed again.
func (s *Store) CloseBy(ctx context.Context, provider, account, by string) error {
	return s.writeByOperator(ctx, resumed, provider, account, by)
}

// writeByOperator writes behind whatever the record is now: an operator's word wins.
func (s *Store) writeByOperator(ctx context.Context, e event, provider, account, by string) error {
	return stream.RetryConflicts(ctx, func() error {
		now, err := s.read(ctx, provider, account)
		if err != nil {
			return err
		}
		c, _ := Waits{}.next(now.Circuit, e, "", 0)
		c.By = by
		_, err = s.write(ctx, c, now.sequence, time.Time{})
		return err
	})
}
