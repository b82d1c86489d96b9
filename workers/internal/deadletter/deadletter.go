// Package deadletter stores a dead letter for each message or look-up that could not be
// finished, once, with class, cause and next step, before the original is acked. An
// operator's mark is a further record of the same dead letter.
package deadletter

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

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
// whatever the class. It stores nothing if reported says so of the last one, unless the
// two name sequences of different incarnations of a stream. handled, the ID of the
// message that led to l, is the message id: within the duplicate window, handling that
// message again stores nothing. Put sets l.Created.
func (s *Store) Put(ctx context.Context, u subject.Unit, l record.DeadLetter, handled string, reported func(last Entry) bool) error {
	_, err := s.put(ctx, u, l, handled, reported)
	return err
}

// put is Put and returns whether this call stored the dead letter. A dead letter
// without an observation keeps the last one's ReportedUpTo.
func (s *Store) put(ctx context.Context, u subject.Unit, l record.DeadLetter, handled string, reported func(last Entry) bool) (stored bool, err error) {
	filter := u.DeadLetter(subject.Any, l.Stage)
	of, _, _ := strings.Cut(handled, "-") // As ID joins them.
	names := []string{of, l.Stream}
	if l.Covers > 0 {
		names = append(names, subject.Notifications)
	}
	created, err := s.created(ctx, names...)
	if err != nil {
		return false, err
	}
	if at := created[of]; !at.IsZero() {
		handled += at.Format("-" + time.RFC3339Nano)
	}
	err = stream.RetryConflicts(ctx, func() error {
		last, err := s.last(ctx, filter)
		if err != nil || last.Sequence > 0 && last.ComparableWith(created) && reported(last) {
			return err
		}
		l.Created = maps.Clone(created)
		if l.Observation == 0 && last.Reported() > 0 {
			l.ReportedUpTo = last.Reported()
			if at, ok := last.Created[subject.Statuses]; ok {
				l.Created[subject.Statuses] = at
			}
		}
		ack, err := s.append(ctx, u, l, filter, last.Sequence, jetstream.WithMsgID(handled))
		stored = err == nil && !ack.Duplicate
		return err
	})
	return stored, err
}

// stamped are the streams whose creation time a dead letter has. Each stage that names
// sequences of one of them may read its state.
var stamped = []string{subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders, subject.Advisories, subject.Expectations}

// created reads when streams were created. Only stamped streams that exist are in the
// result. It is read for each dead letter, because these are few, and a process may
// outlive a stream.
func (s *Store) created(ctx context.Context, names ...string) (map[string]time.Time, error) {
	all := map[string]time.Time{}
	for _, name := range names {
		if _, known := all[name]; known || !slices.Contains(stamped, name) {
			continue
		}
		at, err := stream.Created(ctx, s.js, name)
		if err != nil {
			return nil, err
		}
		if !at.IsZero() {
			all[name] = at
		}
	}
	return all, nil
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
	IDs    map[string]bool // The ids of dead letters after which the same original is not reported again, as SameID decides.
	Covers uint64          // Highest notification that a dead letter covers, whatever its state.
}

// Reported reads the unit's dead letters of a stage. Dead letters that name sequences of
// earlier incarnations of NOTIFICATIONS and LOOKUP_RETRIES are left out.
func (s *Store) Reported(ctx context.Context, u subject.Unit, stage string) (Reports, error) {
	r := Reports{IDs: map[string]bool{}}
	letters, err := s.LatestOf(ctx, u, stage)
	if err != nil || len(letters) == 0 {
		return r, err
	}
	created, err := s.created(ctx, subject.Notifications, subject.LookupRetries)
	for _, l := range letters {
		if l.ComparableWith(created) {
			r.IDs[l.ID], r.Covers = SameID(l.ID)(l), max(r.Covers, l.Covers)
		}
	}
	return r, err
}
