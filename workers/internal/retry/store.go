// Package retry schedules look-ups: each is a message schedule in LOOKUP_RETRIES,
// which the broker holds under `lookup.parked.` until its due time and then
// delivers under `lookup.due.`. There is at most one per payment.
package retry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Store holds the scheduled look-ups. It is safe for concurrent use. It reads from the
// leader of LOOKUP_RETRIES, and a write is a compare-and-append on the payment's subject.
type Store struct {
	Writes commit.Appender // What schedules are stored through; commit.Direct by default.

	stream jetstream.Stream
	tokens subject.Tokens
	usage  usage
}

// Open binds to LOOKUP_RETRIES. The error wraps the client's if the stream cannot
// be read.
func Open(ctx context.Context, js jetstream.JetStream, tokens subject.Tokens) (*Store, error) {
	stream, err := js.Stream(ctx, subject.LookupRetries)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.LookupRetries, err)
	}
	return &Store{Writes: commit.Direct{JS: js}, stream: stream, tokens: tokens}, nil
}

// Entry is a payment's scheduled look-up as it was read. The zero Entry means that
// none is scheduled.
type Entry struct {
	Sequence   uint64    // On LOOKUP_RETRIES; 0 when none is scheduled.
	At         time.Time // When it was scheduled, by the broker's clock.
	Parked     record.ScheduledLookUp
	Unreadable bool // It does not decode, or names another payment: of Parked, only the payment and the due time are set.
}

// Read returns what is scheduled for a payment, or the zero Entry.
func (l *Store) Read(ctx context.Context, provider, account, payment string) (Entry, error) {
	return l.read(ctx, subject.Waiting.Parked, provider, account, payment)
}

// ReadDue returns the payment's look-up that the broker has delivered and no worker
// has acknowledged, or the zero Entry.
func (l *Store) ReadDue(ctx context.Context, provider, account, payment string) (Entry, error) {
	return l.read(ctx, subject.Waiting.Due, provider, account, payment)
}

// NextParked returns the first scheduled look-up of an account's payments above a sequence,
// or the zero Entry. They are in the order in which they were last scheduled.
func (l *Store) NextParked(ctx context.Context, provider, account string, above uint64) (Entry, error) {
	raw, err := stream.Next(ctx, l.stream, subject.FilterWaiting(provider, account).Parked(), above)
	if err != nil || raw == nil {
		return Entry{}, err
	}
	entry := Entry{Sequence: raw.Sequence, At: raw.Time}
	entry.Unreadable = json.Unmarshal(raw.Data, &entry.Parked) != nil
	p := entry.Parked
	entry.Unreadable = entry.Unreadable || l.tokens.Waiting(p.Provider, p.Account, p.Payment).Parked() != raw.Subject
	return entry, nil
}

func (l *Store) read(ctx context.Context, on func(subject.Waiting) string, provider, account, payment string) (Entry, error) {
	raw, err := stream.Last(ctx, l.stream, on(l.tokens.Waiting(provider, account, payment)))
	if err != nil || raw == nil {
		return Entry{}, err
	}
	entry := Entry{Sequence: raw.Sequence, At: raw.Time}
	err = json.Unmarshal(raw.Data, &entry.Parked)
	if p := entry.Parked; err != nil || p.Provider != provider || p.Account != account || p.Payment != payment {
		entry.Parked, entry.Unreadable = record.ScheduledLookUp{Provider: provider, Account: account, Payment: payment}, true
		if at, err := time.Parse(atFormat, raw.Header.Get(scheduleHeader)); err == nil {
			entry.Parked.DueAt = at
		}
	}
	return entry, nil
}

// Cancel deletes a scheduled look-up by its sequence. A look-up that fired or was
// replaced since the entry was read has another sequence and stays.
func (l *Store) Cancel(ctx context.Context, entry Entry) error {
	if entry.Sequence == 0 {
		return nil
	}
	if err := stream.Delete(ctx, l.stream, entry.Sequence); err != nil {
		return fmt.Errorf("cancel scheduled look-up: %w", err)
	}
	return nil
}

// ErrUnreadable means that a look-up which does not decode cannot be expedited.
var ErrUnreadable = errors.New("the scheduled look-up does not decode; the next look-up of the payment replaces it")

// Schedule merges a look-up with what is scheduled for its payment: see Merge.
func (l *Store) Schedule(ctx context.Context, as Request, p record.ScheduledLookUp) error {
	old, err := l.Read(ctx, p.Provider, p.Account, p.Payment)
	if err == nil {
		_, err = l.ScheduleOver(ctx, old, as, p)
	}
	return err
}

// ScheduleOver is Schedule for a caller that has read what is scheduled, which is read
// again only after a conflict. It returns what is scheduled now, the zero Entry if nothing
// was written.
func (l *Store) ScheduleOver(ctx context.Context, old Entry, as Request, p record.ScheduledLookUp) (stored Entry, err error) {
	given := true
	err = stream.RetryConflicts(ctx, func() (err error) {
		if !given {
			if old, err = l.Read(ctx, p.Provider, p.Account, p.Payment); err != nil {
				return err
			}
		}
		merged := old.Parked
		if given = false; old.Unreadable { // It is replaced, so that it does not delay the payment until it is due.
			merged = record.ScheduledLookUp{}
		}
		next, write := Merge(merged, p, as)
		switch {
		case old.Unreadable && as == Expedite:
			return ErrUnreadable
		case !write:
			return nil
		}
		stored, err = l.write(ctx, next, old.Sequence)
		return err
	})
	return stored, err
}

// The header that carries a schedule's due time, and its format.
const (
	scheduleHeader = "Nats-Schedule"
	atFormat       = "@at " + time.RFC3339Nano
)

// write publishes a schedule. It sets the header itself, because
// jetstream.WithScheduleAt of nats.go 1.55.0 (jetstream/jetstream_options.go) truncates
// to whole seconds and so fires up to 1 s early. Before the option may be used, check
// that it formats fractions.
func (l *Store) write(ctx context.Context, p record.ScheduledLookUp, expected uint64) (Entry, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return Entry{}, fmt.Errorf("encode scheduled look-up: %w", err)
	}
	subjects := l.tokens.Waiting(p.Provider, p.Account, p.Payment)
	stored, err := l.Writes.Store(ctx, commit.Message{
		Subject: subjects.Parked(), Body: body, Guard: &commit.Guard{Last: expected},
		Header: nats.Header{scheduleHeader: {p.DueAt.UTC().Format(atFormat)}, "Nats-Schedule-Target": {subjects.Due()}},
	})
	if err != nil {
		return Entry{}, fmt.Errorf("schedule look-up: %w", err)
	}
	return Entry{Sequence: stored.Sequence, Parked: p}, nil
}
