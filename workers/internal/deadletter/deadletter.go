// Package deadletter stores a dead letter for each message or look-up that could not be
// finished, once, with class, cause and next step, before the original is acked. An
// operator's mark is a further record of the same dead letter.
package deadletter

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Store holds the dead letters on DEAD_LETTERS. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

// Open binds to DEAD_LETTERS.
func Open(ctx context.Context, js jetstream.JetStream) (*Store, error) {
	stream, err := js.Stream(ctx, subject.DeadLetters)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.DeadLetters, err)
	}
	return &Store{js: js, stream: stream}, nil
}

// ID names a dead letter by the stream and sequence of its original.
func ID(stream string, sequence uint64) string {
	return stream + "-" + strconv.FormatUint(sequence, 10)
}

// Put stores a unit's dead letter, as a compare-and-append on its unit and stage,
// whatever the class. It stores nothing if reported says so of the last one. handled,
// the message that led to l, is the message id: within the duplicate window, handling
// that message again stores nothing.
func (s *Store) Put(ctx context.Context, u subject.Unit, l record.DeadLetter, handled string, reported func(last Entry) bool) error {
	_, err := s.put(ctx, u, l, handled, reported)
	return err
}

// put is Put and returns whether this call stored the dead letter. A dead letter
// without an observation keeps the last one's ReportedUpTo.
func (s *Store) put(ctx context.Context, u subject.Unit, l record.DeadLetter, handled string, reported func(last Entry) bool) (stored bool, err error) {
	filter := u.DeadLetter(subject.Any, l.Stage)
	err = stream.RetryConflicts(ctx, func() error {
		last, err := s.last(ctx, filter)
		if err != nil || last.Sequence > 0 && reported(last) {
			return err
		}
		if l.Observation == 0 {
			l.ReportedUpTo = last.Reported()
		}
		ack, err := s.append(ctx, u, l, filter, last.Sequence, jetstream.WithMsgID(handled))
		stored = err == nil && !ack.Duplicate
		return err
	})
	return stored, err
}

// append stores a dead letter if the last message on filter has the expected sequence.
func (s *Store) append(ctx context.Context, u subject.Unit, l record.DeadLetter, filter string, expected uint64, more ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode dead letter: %w", err)
	}
	m := nats.NewMsg(u.DeadLetter(string(l.Class), l.Stage))
	m.Data = body
	ack, err := s.js.PublishMsg(ctx, m, append(more, jetstream.WithExpectLastSequenceForSubject(expected, filter))...)
	if err != nil {
		return nil, fmt.Errorf("write dead letter: %w", err)
	}
	return ack, nil
}

// last returns the newest dead letter on a filter, or the zero Entry.
func (s *Store) last(ctx context.Context, filter string) (Entry, error) {
	raw, err := stream.Last(ctx, s.stream, filter)
	if err != nil || raw == nil {
		return Entry{}, err
	}
	return read(raw)
}

// SameID is a reported function for Put: the last dead letter has the same id. A
// redriven one does not count, because the look-up of its redrive is to be reported
// again.
func SameID(id string) func(Entry) bool {
	return func(last Entry) bool { return last.ID == id && last.State != record.Redriven }
}

// Reports is what a unit's dead letters of a stage say.
type Reports struct {
	IDs    map[string]bool // Of dead letters after which the same original is not reported again, as SameID decides.
	Covers uint64          // Highest notification that a dead letter covers, whatever its state.
}

// Reported reads the unit's dead letters of a stage.
func (s *Store) Reported(ctx context.Context, u subject.Unit, stage string) (Reports, error) {
	r := Reports{IDs: map[string]bool{}}
	letters, err := s.Latest(ctx, u.DeadLetter(subject.Any, stage))
	for _, l := range letters {
		r.IDs[l.ID], r.Covers = SameID(l.ID)(l), max(r.Covers, l.Covers)
	}
	return r, err
}
