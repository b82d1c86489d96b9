// Package expectations reads and writes what internal services expect, on EXPECTATIONS, and
// what came of it, on OUTCOMES.
package expectations

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/spans"
	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/trace"
	"arauto/schemas/expectation"
	"arauto/schemas/subject"
)

// Store holds expectations and outcomes. It is safe for concurrent use. It reads from the
// streams' leaders.
type Store struct {
	writes   commit.Direct
	tokens   subject.Tokens
	expected jetstream.Stream
	outcomes jetstream.Stream // Nil in a store for announcing.

	deployment string
	used       atomic.Bool // What Used has found.
}

// Open binds to EXPECTATIONS and OUTCOMES. The name of the deployment is in the CloudEvents
// source of outcomes; it may be "".
func Open(ctx context.Context, js jetstream.JetStream, tokens subject.Tokens, deployment string) (*Store, error) {
	s, err := OpenAnnouncing(ctx, js, tokens)
	if err != nil {
		return nil, err
	}
	s.deployment = deployment
	if s.outcomes, err = js.Stream(ctx, subject.Outcomes); err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Outcomes, err)
	}
	return s, nil
}

// OpenAnnouncing binds to EXPECTATIONS only, for Announce.
func OpenAnnouncing(ctx context.Context, js jetstream.JetStream, tokens subject.Tokens) (*Store, error) {
	expected, err := js.Stream(ctx, subject.Expectations)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Expectations, err)
	}
	return &Store{writes: commit.Direct{JS: js}, tokens: tokens, expected: expected}, nil
}

// Expected is EXPECTATIONS.
func (s *Store) Expected() jetstream.Stream { return s.expected }

// Stored is OUTCOMES.
func (s *Store) Stored() jetstream.Stream { return s.outcomes }

// Used reports whether any payment was ever expected here. Once one was, it asks the broker
// no more.
func (s *Store) Used(ctx context.Context) (bool, error) {
	if s.used.Load() {
		return true, nil
	}
	info, err := s.expected.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("read state of %s: %w", subject.Expectations, err)
	}
	if info.State.LastSeq > 0 {
		s.used.Store(true)
	}
	return s.used.Load(), nil
}

// HalfFree reports whether less than half of OUTCOMES is taken.
func (s *Store) HalfFree(ctx context.Context) (bool, error) {
	info, err := s.outcomes.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("read state of %s: %w", subject.Outcomes, err)
	}
	most := info.Config.MaxBytes
	return most <= 0 || info.State.Bytes < uint64(most)/2, nil
}

// Result is what an announcement changed.
type Result string

// The results.
const (
	Accepted  Result = "accepted"  // The payment was not expected before.
	Replaced  Result = "replaced"  // Another version was expected before.
	Unchanged Result = "unchanged" // The same version is expected already.
	Withdrawn Result = "withdrawn" // The payment is no longer expected.
	Absent    Result = "absent"    // The payment was not expected, so nothing was withdrawn.
)

// Announce stores an expectation of a payment, as a compare-and-append behind the one
// before it, with the caller's trace context unless that is not valid. The same version again
// stores nothing. It returns the version, "" for a withdrawal.
func (s *Store) Announce(ctx context.Context, provider, account, payment string, e expectation.Expectation, of string) (result Result, version string, err error) {
	unit := s.tokens.Unit(provider, account, payment)
	e.Payment = payment
	body, err := json.Marshal(e)
	if err != nil {
		return "", "", fmt.Errorf("encode expectation: %w", err)
	}
	if !e.Withdrawn {
		version = e.Version(payment)
	}
	err = stream.RetryConflicts(ctx, func() error {
		last, err := stream.Last(ctx, s.expected, unit.Expected())
		if err != nil {
			return err
		}
		var expected uint64
		result = Accepted
		if last != nil {
			expected, result = last.Sequence, Replaced
			before, unreadable := expectation.Read(last.Data)
			if unreadable == nil && !before.Withdrawn && before.Version(payment) == version {
				result = Unchanged
				return nil
			}
		}
		switch {
		case e.Withdrawn && last == nil:
			result = Absent
			return nil
		case e.Withdrawn:
			result = Withdrawn
		}
		m := commit.Message{Subject: unit.Expected(), Body: body, Guard: &commit.Guard{Last: expected}}
		if trace.Valid(of) {
			m.Header = nats.Header{trace.Header: {of}}
		}
		_, err = s.writes.Store(ctx, m)
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("store expectation: %w", err)
	}
	return result, version, nil
}

// sinceHeader says when a version was announced first that a service has announced by NATS
// again, which replaces the message and its time.
const sinceHeader = "Arauto-Since"

// Since is when the version in a message of EXPECTATIONS was announced first: when the message
// was stored, unless Keep has stored it.
func Since(raw *jetstream.RawStreamMsg) time.Time {
	if at, err := time.Parse(time.RFC3339Nano, raw.Header.Get(sinceHeader)); err == nil && at.Before(raw.Time) {
		return at
	}
	return raw.Time
}

// Keep stores a message of EXPECTATIONS again, with when its version was announced first, and
// returns the new sequence. stream.ErrConflict means that the message was replaced or removed.
func (s *Store) Keep(ctx context.Context, raw *jetstream.RawStreamMsg, since time.Time) (uint64, error) {
	m := commit.Message{Subject: raw.Subject, Body: raw.Data, Header: nats.Header{}, Guard: &commit.Guard{Last: raw.Sequence}}
	if of := raw.Header.Get(trace.Header); of != "" {
		m.Header.Set(trace.Header, of)
	}
	m.Header.Set(sinceHeader, since.UTC().Format(time.RFC3339Nano))
	stored, err := s.writes.Store(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("store expectation: %w", err)
	}
	return stored.Sequence, nil
}

// Remove erases an expectation by its sequence, in the broker's file too, because no later
// message makes the broker write that part of it again. A later expectation of the payment has
// another sequence and stays.
func (s *Store) Remove(ctx context.Context, sequence uint64) error {
	if err := stream.Erase(ctx, s.expected, sequence); err != nil {
		return fmt.Errorf("remove expectation %d: %w", sequence, err)
	}
	return nil
}

// Log is what came of a payment's expectations.
type Log struct {
	Sequence uint64 // Of the last outcome, which the next one expects; 0 for none.
	Outcomes []expectation.Outcome
}

// Log reads the outcomes of a unit. What does not decode is left out.
func (s *Store) Log(ctx context.Context, u subject.Unit) (Log, error) {
	var log Log
	err := stream.EachFew(ctx, s.outcomes, u.Outcomes(), 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		log.Sequence = raw.Sequence
		if o, err := expectation.ReadOutcome(raw.Data); err == nil {
			log.Outcomes = append(log.Outcomes, o)
		}
		return true, nil
	})
	return log, err
}

// Said returns the outcomes of a version.
func (l Log) Said(version string) map[expectation.Word]expectation.Outcome {
	said := map[expectation.Word]expectation.Outcome{}
	for _, o := range l.Outcomes {
		if o.Version == version {
			said[o.Outcome] = o
		}
	}
	return said
}

// Publish appends an outcome behind a log and moves the log to it, within a trace context; ""
// for none. stream.ErrConflict means that another process was first: read and judge again.
func (s *Store) Publish(ctx context.Context, u subject.Unit, log *Log, o expectation.Outcome, within string) error {
	body, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode outcome: %w", err)
	}
	about := o.Payment
	if o.Order != nil {
		about = *o.Order
	}
	m := commit.Message{
		ID: o.ID(), Subject: u.Outcome(string(o.Outcome)), Body: body, Header: nats.Header{},
		Guard: &commit.Guard{Filter: u.Outcomes(), Last: log.Sequence},
	}
	for name, value := range o.CloudEvent(s.deployment, s.tokens.Shown(about)) {
		m.Header.Set(name, value)
	}
	ctx, span, within := spans.Send(ctx, subject.Outcomes, within)
	if within != "" {
		m.Header.Set(trace.Header, within)
	}
	stored, err := s.writes.Store(ctx, m)
	span.End(err)
	if err != nil {
		return fmt.Errorf("publish outcome: %w", err)
	}
	if stored.Duplicate {
		return stream.ErrConflict // Stored before, and the ack was lost.
	}
	log.Sequence, log.Outcomes = stored.Sequence, append(log.Outcomes, o)
	return nil
}

// DeadlineOf is until when an expectation that was stored at a time must be paid.
func DeadlineOf(e expectation.Expectation, stored time.Time, without time.Duration) time.Time {
	if e.Deadline != nil {
		return *e.Deadline
	}
	return stored.Add(without).UTC()
}
