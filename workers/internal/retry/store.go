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

// Store holds the scheduled look-ups. It is safe for concurrent use. Each of its
// methods reads from the leader of LOOKUP_RETRIES, and a write is a
// compare-and-append on the payment's subject.
type Store struct {
	Writes commit.Appender // What schedules are stored through; commit.Direct by default.

	stream jetstream.Stream
	tokens subject.Tokens
	usage  *usage // Nil without a limit.
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

// read returns the last look-up on one of the payment's subjects. It is unreadable unless
// it names the payment.
func (l *Store) read(ctx context.Context, on func(subject.Waiting) string, provider, account, payment string) (Entry, error) {
	whose := record.ScheduledLookUp{Provider: provider, Account: account, Payment: payment}
	raw, err := stream.Last(ctx, l.stream, on(l.tokens.Waiting(provider, account, payment)))
	if err != nil || raw == nil {
		return Entry{}, err
	}
	entry := Entry{Sequence: raw.Sequence, At: raw.Time}
	err = json.Unmarshal(raw.Data, &entry.Parked)
	if p := entry.Parked; err != nil || p.Provider != whose.Provider || p.Account != whose.Account || p.Payment != whose.Payment {
		if at, err := time.Parse(atFormat, raw.Header.Get(scheduleHeader)); err == nil {
			whose.DueAt = at
		}
		entry.Parked, entry.Unreadable = whose, true
	}
	return entry, nil
}

// The header that carries a schedule's due time, and its format.
const (
	scheduleHeader = "Nats-Schedule"
	atFormat       = "@at " + time.RFC3339Nano
)

// Cancel deletes a scheduled look-up by its sequence. A look-up that fired or was
// replaced since the entry was read has another sequence and stays.
func (l *Store) Cancel(ctx context.Context, entry Entry) error {
	if entry.Sequence == 0 {
		return nil
	}
	err := l.stream.DeleteMsg(ctx, entry.Sequence)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) && l.gone(ctx, entry) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cancel scheduled look-up %d: %w", entry.Sequence, err)
	}
	return nil
}

// gone reports whether a scheduled look-up no longer exists. nats.go 1.55.0
// (jetstream/stream.go, deleteMsg) keeps the broker's code 10057 as text only. Before
// this read may go, check that ErrMsgDeleteUnsuccessful wraps the APIError.
func (l *Store) gone(ctx context.Context, entry Entry) bool {
	_, err := l.stream.GetMsg(ctx, entry.Sequence)
	return errors.Is(err, jetstream.ErrMsgNotFound)
}

// Schedule merges a look-up with what is scheduled for its payment: see Merge.
func (l *Store) Schedule(ctx context.Context, as Request, p record.ScheduledLookUp) error {
	_, err := l.compareAndSwap(ctx, as, p, nil)
	return err
}

// ScheduleOver is Schedule for a caller that has read what is scheduled, which saves a
// read unless that has changed since.
func (l *Store) ScheduleOver(ctx context.Context, read Entry, as Request, p record.ScheduledLookUp) error {
	_, err := l.compareAndSwap(ctx, as, p, &read)
	return err
}

// ErrUnreadable means that the scheduled look-up does not decode.
var ErrUnreadable = errors.New("the scheduled look-up does not decode; the next look-up of the payment replaces it")

// Expedite makes the payment's scheduled look-up due at p.DueAt. ok is false if none is
// scheduled.
func (l *Store) Expedite(ctx context.Context, p record.ScheduledLookUp) (ok bool, err error) {
	old, err := l.compareAndSwap(ctx, Expedite, p, nil)
	if err == nil && old.Unreadable {
		err = ErrUnreadable
	}
	return err == nil && old.Sequence > 0, err
}

// compareAndSwap reads what is scheduled unless it is given, merges, and writes with the
// sequence that was read as the expected one. On a conflict it starts again with a read. It
// returns what was scheduled before.
func (l *Store) compareAndSwap(ctx context.Context, as Request, p record.ScheduledLookUp, read *Entry) (old Entry, err error) {
	err = stream.RetryConflicts(ctx, func() (err error) {
		if read != nil {
			old, read = *read, nil
		} else if old, err = l.Read(ctx, p.Provider, p.Account, p.Payment); err != nil {
			return err
		}
		merged := old.Parked
		if old.Unreadable { // It is replaced, so that it does not delay the payment until it is due.
			merged = record.ScheduledLookUp{}
		}
		next, write := Merge(merged, p, as)
		if !write {
			return nil
		}
		return l.write(ctx, next, old.Sequence)
	})
	return old, err
}

// write publishes a schedule. It sets the header itself, because
// jetstream.WithScheduleAt of nats.go 1.55.0 (jetstream/jetstream_options.go) truncates
// to whole seconds and so fires up to 1 s early. Before the option may be used, check
// that it formats fractions.
func (l *Store) write(ctx context.Context, p record.ScheduledLookUp, expected uint64) error {
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode scheduled look-up: %w", err)
	}
	subjects := l.tokens.Waiting(p.Provider, p.Account, p.Payment)
	m := commit.Message{
		Subject: subjects.Parked(), Body: body, Guard: &commit.Guard{Last: expected},
		Header: nats.Header{scheduleHeader: {p.DueAt.UTC().Format(atFormat)}, "Nats-Schedule-Target": {subjects.Due()}},
	}
	if _, err := l.Writes.Store(ctx, m); err != nil {
		return fmt.Errorf("schedule look-up: %w", err)
	}
	return nil
}
