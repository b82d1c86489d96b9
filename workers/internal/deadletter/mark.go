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
	Sequence uint64 // On DEAD_LETTERS; of the marker where there is one.
	Unit     subject.Unit
	StoredAt time.Time // The broker's timestamp.
}

// ErrNotOpen means that a letter is not there or has been acted on already.
var ErrNotOpen = errors.New("no such dead letter is open")

// ErrFailedAgain means that a letter was written anew since it was read.
var ErrFailedAgain = errors.New("it has failed again meanwhile")

// Each calls visit for every stored letter and marker whose subject matches,
// from a sequence on, in the order of the stream.
func (b *Store) Each(ctx context.Context, filter string, from uint64, visit func(Entry) error) error {
	_, err := stream.Each(ctx, b.stream, filter, max(from, 1)-1, func(raw *jetstream.RawStreamMsg) (bool, error) {
		l, err := read(raw)
		if err != nil {
			return false, err
		}
		return true, visit(l)
	})
	return err
}

// Newest is the sequence above which there are about as many messages as most, 0
// where there are no more.
func (b *Store) Newest(ctx context.Context, most uint64) (above uint64, err error) {
	info, err := b.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read state of %s: %w", subject.DeadLetters, err)
	}
	if info.State.Msgs <= most {
		return 0, nil
	}
	return info.State.LastSeq - most, nil
}

// Latest reads the letters that match, each as it stands now: the last of those
// with the same unit, stage and id, in the place of the first.
func (b *Store) Latest(ctx context.Context, filter string) ([]Entry, error) {
	return b.LatestAbove(ctx, filter, 0)
}

// LatestAbove is Latest of what is stored above a sequence.
func (b *Store) LatestAbove(ctx context.Context, filter string, above uint64) ([]Entry, error) {
	type name struct {
		unit      subject.Unit
		stage, id string
	}
	places := map[name]int{}
	var letters []Entry
	err := b.Each(ctx, filter, above+1, func(l Entry) error {
		name := name{l.Unit, l.Stage, l.ID}
		if place, again := places[name]; again {
			letters[place] = l
			return nil
		}
		places[name] = len(letters)
		letters = append(letters, l)
		return nil
	})
	return letters, err
}

// CoversNotification reports whether a letter is what a notification came to: it is about
// that, or about a look-up that stood for it. One that was redriven is not: what
// became of the new look-up must show elsewhere.
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

// plain reports whether an id is one that ID makes: what a person can type.
func plain(id string) bool {
	return id != "" && !strings.ContainsFunc(id, func(c rune) bool { return c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') })
}

// unreadable stands for a stored letter that does not decode, or that is not the
// letter that its subject names: it must be seen and can be marked, and keeps
// nobody from the others.
func unreadable(raw *jetstream.RawStreamMsg, on subject.DeadLetter) record.DeadLetter {
	return record.DeadLetter{
		ID: ID(subject.DeadLetters, raw.Sequence), Class: record.Class(on.Class), Stage: on.Stage,
		Provider: on.Unit.Provider, Account: on.Unit.Account, Payment: on.Unit.Payment,
		Cause: "stored dead letter does not decode", LastAnswer: record.NoAnswer, Stream: subject.DeadLetters, Sequence: raw.Sequence,
		Next: "compare the versions of the workers and of this command", At: raw.Time,
	}
}

// Last returns a unit's last letter of a stage, the zero Letter for none.
func (b *Store) Last(ctx context.Context, u subject.Unit, stage string) (Entry, error) {
	return b.last(ctx, u.DeadLetter(subject.Any, stage))
}

// Mark stores what an operator made of an open letter, as the unit's new last
// letter of its stage. The mark goes on standing for everything that was
// reported before it, so that no observation is reported twice. ErrNotOpen
// means that somebody was faster, ErrAgain that l is no longer what is open.
func (b *Store) Mark(ctx context.Context, l Entry, state record.State, by string, at time.Time) error {
	filter := l.Unit.DeadLetter(subject.Any, l.Stage)
	return stream.RetryConflicts(ctx, func() error {
		marker, guard, err := b.standing(ctx, filter, l)
		if err != nil {
			return err
		}
		moment := at.UTC()
		marker.State, marker.By, marker.MarkedAt = state, by, &moment
		_, err = b.append(ctx, l.Unit, marker, filter, guard)
		return err
	})
}

// standing finds an open letter, as it was read, among those that match, and
// the sequence that guards the next one. The letter has Beyond filled in.
func (b *Store) standing(ctx context.Context, filter string, read Entry) (record.DeadLetter, uint64, error) {
	var (
		found  Entry
		guard  uint64
		beyond uint64
	)
	err := b.Each(ctx, filter, 1, func(l Entry) error {
		guard, beyond = l.Sequence, max(beyond, l.Reported())
		if l.ID == read.ID {
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
	found.ReportedUpTo = max(beyond, read.ReportedUpTo)
	return found.DeadLetter, guard, err
}
