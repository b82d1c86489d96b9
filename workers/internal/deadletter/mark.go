package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Entry is a stored dead letter.
type Entry struct {
	record.DeadLetter
	Sequence uint64 // Sequence on DEAD_LETTERS; that of the mark if there is one.
	Unit     subject.Unit
	StoredAt time.Time // By the broker's clock.
}

// Name tells a dead letter from every other one, and is the same in all its states.
type Name struct {
	unit      subject.Unit
	stage, id string
	created   int64 // Creation time of the stream that the id names, so that the id is of one incarnation.
}

// Name returns the dead letter's name.
func (l Entry) Name() Name { return Name{l.Unit, l.Stage, l.ID, l.Created[l.Stream].UnixNano()} }

// ErrNotOpen means that the dead letter does not exist or was marked already.
var ErrNotOpen = errors.New("no such dead letter is open")

// ErrFailedAgain means that the dead letter was stored again since it was read.
var ErrFailedAgain = errors.New("it has failed again meanwhile")

// Each calls visit for every dead letter and mark on a filter, in the order of the
// stream, starting at a sequence. EachOf is for those of one unit.
func (s *Store) Each(ctx context.Context, filter string, from uint64, visit func(Entry) error) error {
	_, err := stream.Each(ctx, s.stream, filter, max(from, 1)-1, reading(visit))
	return err
}

// EachOf is Each for the dead letters of a unit and a stage, subject.Any for every stage.
// It takes no longer when more dead letters of others are stored.
func (s *Store) EachOf(ctx context.Context, u subject.Unit, stage string, from uint64, visit func(Entry) error) error {
	return stream.EachFew(ctx, s.stream, u.DeadLetter(subject.Any, stage), max(from, 1)-1, reading(visit))
}

// NewestOf is EachOf for the newest of every stage: at most so many, and at least half of that
// if there are more. older reports whether there are older ones.
func (s *Store) NewestOf(ctx context.Context, u subject.Unit, most uint64, visit func(Entry) error) (older bool, err error) {
	return stream.EachNewest(ctx, s.stream, u.DeadLetter(subject.Any, subject.Any), most, reading(visit))
}

func reading(visit func(Entry) error) func(*jetstream.RawStreamMsg) (bool, error) {
	return func(raw *jetstream.RawStreamMsg) (bool, error) {
		l, err := read(raw)
		if err != nil {
			return false, err
		}
		return true, visit(l)
	}
}

// Newest returns a sequence above which there are about most messages, 0 if there are
// no more than that.
func (s *Store) Newest(ctx context.Context, most uint64) (above uint64, err error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read state of %s: %w", subject.DeadLetters, err)
	}
	if info.State.Msgs <= most {
		return 0, nil
	}
	return info.State.LastSeq - most, nil
}

// Latest returns the dead letters on a filter, each in its latest state, in the order
// in which they were first stored.
func (s *Store) Latest(ctx context.Context, filter string) ([]Entry, error) {
	return s.LatestAbove(ctx, filter, 0)
}

// LatestAbove is Latest for what is stored above a sequence.
func (s *Store) LatestAbove(ctx context.Context, filter string, above uint64) ([]Entry, error) {
	all := latest{indexes: map[Name]int{}}
	err := s.Each(ctx, filter, above+1, all.note)
	return all.entries, err
}

// LatestOf is Latest for the dead letters of a unit and a stage, subject.Any for every
// stage.
func (s *Store) LatestOf(ctx context.Context, u subject.Unit, stage string) ([]Entry, error) {
	all := latest{indexes: map[Name]int{}}
	err := s.EachOf(ctx, u, stage, 1, all.note)
	return all.entries, err
}

// latest holds each dead letter in its latest state.
type latest struct {
	indexes map[Name]int
	entries []Entry
}

func (a *latest) note(l Entry) error {
	if index, again := a.indexes[l.Name()]; again {
		a.entries[index] = l
		return nil
	}
	a.indexes[l.Name()] = len(a.entries)
	a.entries = append(a.entries, l)
	return nil
}

// CoversNotification reports whether the dead letter is about a notification, or about a
// look-up that covered it. A redriven dead letter covers none: the redrive's look-up has a
// result of its own. The caller ensures that both are of the same incarnation.
func (l Entry) CoversNotification(notification uint64) bool {
	own := l.Stream == subject.Notifications && l.DeadLetter.Sequence == notification
	return l.State != record.Redriven && (own || l.Covers >= notification)
}

func read(raw *jetstream.RawStreamMsg) (l Entry, err error) {
	l.Sequence, l.StoredAt = raw.Sequence, raw.Time
	on, err := subject.ParseDeadLetter(raw.Subject)
	if err != nil {
		return Entry{}, fmt.Errorf("read dead letter %d: %w", raw.Sequence, err)
	}
	l.Unit = on.Unit
	if json.Unmarshal(raw.Data, &l.DeadLetter) != nil || !plain(l.ID) ||
		raw.Subject != l.Unit.DeadLetter(string(l.Class), l.Stage) || l.Provider != l.Unit.Provider || l.Account != l.Unit.Account {
		l.DeadLetter = unreadable(raw, on)
	}
	return l, nil
}

// plain reports whether an id has only the characters that ID uses, so that it can be
// typed.
func plain(id string) bool {
	return id != "" && !strings.ContainsFunc(id, func(c rune) bool { return c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') })
}

// unreadable returns a dead letter in place of a stored document that does not decode,
// or whose subject names another dead letter. It can be listed and marked, and does not
// hide the others.
func unreadable(raw *jetstream.RawStreamMsg, on subject.DeadLetter) record.DeadLetter {
	return record.DeadLetter{
		ID: ID(subject.DeadLetters, raw.Sequence), Class: record.Class(on.Class), Stage: on.Stage,
		Provider: on.Unit.Provider, Account: on.Unit.Account, Payment: on.Unit.Payment,
		Cause: "stored dead letter does not decode", LastAnswer: record.NoAnswer, Stream: subject.DeadLetters, Sequence: raw.Sequence,
		Next: "compare the versions of the workers and of this command", At: raw.Time,
	}
}

// Last returns a unit's last dead letter of a stage, or the zero Entry.
func (s *Store) Last(ctx context.Context, u subject.Unit, stage string) (Entry, error) {
	return s.last(ctx, u.DeadLetter(subject.Any, stage))
}

// IsLatest reports whether l is stored and no later record of its dead letter is, such as a mark.
func (s *Store) IsLatest(ctx context.Context, l Entry) (bool, error) {
	last, err := s.Last(ctx, l.Unit, l.Stage)
	if err != nil || last.Sequence <= l.Sequence {
		return last.Sequence == l.Sequence, err
	}
	latest := true
	err = s.EachOf(ctx, l.Unit, l.Stage, l.Sequence, func(stored Entry) error {
		latest = latest && (stored.Sequence == l.Sequence || stored.Name() != l.Name())
		return nil
	})
	return latest, err
}

// Mark stores an operator's decision about an open dead letter as the unit's last
// record of its stage. The mark keeps the highest reported observation, so that none is
// reported twice. It returns ErrNotOpen if l was marked, and ErrFailedAgain if it was
// stored again, since l was read.
func (s *Store) Mark(ctx context.Context, l Entry, state record.State, by string, at time.Time) error {
	filter := l.Unit.DeadLetter(subject.Any, l.Stage)
	return stream.RetryConflicts(ctx, func() error {
		marker, expected, err := s.current(ctx, l)
		if err != nil {
			return err
		}
		moment := at.UTC()
		marker.State, marker.By, marker.MarkedAt = state, by, &moment
		_, err = s.append(ctx, l.Unit, marker, filter, expected)
		return err
	})
}

// current returns the dead letter as it is now, with ReportedUpTo filled in, and the
// sequence that the next record of its unit and stage must expect.
func (s *Store) current(ctx context.Context, read Entry) (record.DeadLetter, uint64, error) {
	var (
		found        Entry
		expected     uint64
		reportedUpTo uint64
	)
	err := s.EachOf(ctx, read.Unit, read.Stage, 1, func(l Entry) error {
		expected = l.Sequence
		if record.SameIncarnation(l.Created[subject.Statuses], read.Created[subject.Statuses]) {
			reportedUpTo = max(reportedUpTo, l.Reported())
		}
		if l.ID == read.ID && record.SameIncarnation(l.Created[l.Stream], read.Created[read.Stream]) {
			found = l
		}
		return nil
	})
	switch {
	case err != nil:
	case found.Sequence == 0 || found.State != record.Open:
		err = ErrNotOpen
	case found.Sequence != read.Sequence:
		err = ErrFailedAgain
	}
	found.ReportedUpTo = max(reportedUpTo, read.ReportedUpTo)
	return found.DeadLetter, expected, err
}
