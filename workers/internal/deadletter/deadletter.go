// Package deadletter stores what could not be finished, once, with its class,
// cause and what to do next, before the original is let go.
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

// Store is the stream of dead letters. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

// Open finds the stream.
func Open(ctx context.Context, js jetstream.JetStream) (*Store, error) {
	stream, err := js.Stream(ctx, subject.DeadLetters)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.DeadLetters, err)
	}
	return &Store{js: js, stream: stream}, nil
}

// ID names a dead letter after its original.
func ID(stream string, sequence uint64) string {
	return stream + "-" + strconv.FormatUint(sequence, 10)
}

// Put stores the letter about a unit unless it is stored already. Letters of
// one unit and stage are guarded by the last of them, whatever its class:
// reported says whether that last one already stands for this letter. handled
// is the message that led to it, named as ID names originals: handled again, it
// leads to no second letter for as long as the broker remembers its name.
func (b *Store) Put(ctx context.Context, u subject.Unit, l record.DeadLetter, handled string, reported func(last Entry) bool) error {
	_, err := b.put(ctx, u, l, handled, reported)
	return err
}

// put is Put, and reports whether this call has stored the letter. A letter that
// names no observation keeps what the last one had reported.
func (b *Store) put(ctx context.Context, u subject.Unit, l record.DeadLetter, handled string, reported func(last Entry) bool) (fresh bool, err error) {
	filter := u.DeadLetter(subject.Any, l.Stage)
	err = stream.RetryConflicts(ctx, func() error {
		last, err := b.last(ctx, filter)
		if err != nil || last.Sequence > 0 && reported(last) {
			return err
		}
		if l.Observation == 0 {
			l.ReportedUpTo = last.Reported()
		}
		ack, err := b.append(ctx, u, l, filter, last.Sequence, jetstream.WithMsgID(handled))
		fresh = err == nil && !ack.Duplicate
		return err
	})
	return fresh, err
}

// append stores a letter if the last message on filter is still the expected one.
func (b *Store) append(ctx context.Context, u subject.Unit, l record.DeadLetter, filter string, expected uint64, more ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode dead letter: %w", err)
	}
	m := nats.NewMsg(u.DeadLetter(string(l.Class), l.Stage))
	m.Data = body
	ack, err := b.js.PublishMsg(ctx, m, append(more, jetstream.WithExpectLastSequenceForSubject(expected, filter))...)
	if err != nil {
		return nil, fmt.Errorf("write dead letter: %w", err)
	}
	return ack, nil
}

// last reads the newest letter that matches, the zero Letter when there is none.
func (b *Store) last(ctx context.Context, filter string) (Entry, error) {
	raw, err := stream.Last(ctx, b.stream, filter)
	if err != nil || raw == nil {
		return Entry{}, err
	}
	return read(raw)
}

// SameID is the reported function for letters that stand for one original. One
// that was redriven says that the provider is being asked again, so whatever
// fails after that is to be reported again.
func SameID(id string) func(Entry) bool {
	return func(last Entry) bool { return last.ID == id && last.State != record.Redriven }
}

// Reports is what the letters of a unit and stage say.
type Reports struct {
	IDs map[string]bool // Of letters that stand for their originals, as SameID has it.
	For uint64          // Highest notification that was given up, whatever became of the letter.
}

// Reported reads the letters of a unit and stage.
func (b *Store) Reported(ctx context.Context, u subject.Unit, stage string) (Reports, error) {
	r := Reports{IDs: map[string]bool{}}
	letters, err := b.Latest(ctx, u.DeadLetter(subject.Any, stage))
	for _, l := range letters {
		r.IDs[l.ID], r.For = SameID(l.ID)(l), max(r.For, l.Covers)
	}
	return r, err
}
