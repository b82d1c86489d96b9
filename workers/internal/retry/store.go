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
	"arauto/schemas/order"
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

// readable reports whether a look-up is scheduled that a merge must keep. An
// unreadable one is replaced, so that it does not delay the payment until it is
// due.
func (p Entry) readable() bool { return p.Sequence > 0 && !p.Unreadable }

// Read returns what is scheduled for a payment, or the zero Entry.
func (l *Store) Read(ctx context.Context, provider, account, payment string) (Entry, error) {
	whose := record.ScheduledLookUp{Provider: provider, Account: account, Payment: payment}
	return l.read(ctx, l.tokens.Waiting(provider, account, payment).Parked(), whose)
}

// read returns the last look-up on a subject. It is unreadable unless it names the
// payment of whose.
func (l *Store) read(ctx context.Context, on string, whose record.ScheduledLookUp) (Entry, error) {
	raw, err := stream.Last(ctx, l.stream, on)
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

// Schedule stores p, a fresh look-up that failed. If one is scheduled already, it
// keeps its due time and attempts, and covers p's notification too. A sweep's
// look-up that has not failed is replaced where p is due sooner.
func (l *Store) Schedule(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(p record.ScheduledLookUp, now Entry) (record.ScheduledLookUp, bool) {
		if !now.readable() {
			return p, true
		}
		kept := now.Parked
		if p.Covers <= kept.Covers {
			return kept, false
		}
		failed := order.JoinFailed(kept.FailedLookUps, p.FailedLookUps)
		kept.FailedLookUps, p.FailedLookUps = failed, failed
		if kept.Cause == order.CauseSweep && kept.FirstFailure == nil && kept.NotFound == 0 && p.DueAt.Before(kept.DueAt) {
			return p, true
		}
		return mergeCoverage(kept, p), true
	})
}

// ScheduleIfNone stores p, a fresh look-up that a rate limit or circuit breaker
// kept from being made. parked is false if the payment has a scheduled look-up by
// now.
func (l *Store) ScheduleIfNone(ctx context.Context, p record.ScheduledLookUp) (parked bool, err error) {
	p.Expedited = true // See ScheduleUnasked.
	err = l.write(ctx, p, 0)
	if stream.IsConflict(err) {
		return false, nil
	}
	return err == nil, err
}

// ScheduleUnasked stores p, a fresh look-up that a rate limit or circuit breaker
// kept from being made. A scheduled look-up that does not cover p yet will, at the
// earlier of both due times, unless both wait for the same limit. Attempts and
// first failure stay.
func (l *Store) ScheduleUnasked(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(p record.ScheduledLookUp, now Entry) (record.ScheduledLookUp, bool) {
		if !now.readable() {
			p.Expedited = true // Reschedule keeps the due time of an expedited look-up.
			return p, true
		}
		kept := now.Parked
		if p.Covers <= kept.Covers {
			return kept, false
		}
		kept = mergeCoverage(kept, p)
		if kept.Reason != p.Reason {
			kept = expedited(kept, p)
		}
		return kept, true
	})
}

// ExtendCoverage makes the scheduled look-up cover p's notification too. It gets a
// recheck series of its own and is due at the earlier of both times; a look-up that
// was brought forward spends no attempt.
func (l *Store) ExtendCoverage(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(p record.ScheduledLookUp, now Entry) (record.ScheduledLookUp, bool) {
		p.NotFound = min(p.NotFound, 1)
		if !now.readable() {
			p.Expedited = true // See ScheduleUnasked.
			return p, true
		}
		kept := now.Parked
		if p.Covers <= kept.Covers {
			return kept, false
		}
		kept = mergeCoverage(kept, p)
		kept.NotFound = min(kept.NotFound, 1)
		return expedited(kept, p), true
	})
}

// Reschedule stores p, a look-up that was due and failed, merged with what was
// scheduled since. Attempts and covered sequence take the maximum; the earlier due
// time wins if the other one is a recheck, a confirmation or expedited.
func (l *Store) Reschedule(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(p record.ScheduledLookUp, now Entry) (record.ScheduledLookUp, bool) {
		next := p
		if !now.readable() {
			return next, true
		}
		next = mergeCoveredNotification(next, now.Parked)
		next.FailedLookUps = order.JoinFailed(now.Parked.FailedLookUps, next.FailedLookUps)
		next.Refused = next.Refused || now.Parked.Refused
		if p.Cause == order.CauseNotification {
			next.Cause = now.Parked.Cause // The scheduled cause stays: a recheck is made even if an answer covers the notification by then.
		}
		if now.Parked.Attempts > p.Attempts {
			next.Attempts, next.FirstFailure, next.DueAt = now.Parked.Attempts, now.Parked.FirstFailure, now.Parked.DueAt
		}
		if followsAnswer(now.Parked) && now.Parked.DueAt.Before(next.DueAt) {
			next.Cause, next.Rechecks = now.Parked.Cause, now.Parked.Rechecks
		}
		if followsAnswer(now.Parked) || now.Parked.Expedited {
			next = expedited(next, now.Parked)
		}
		return next, true
	})
}

// ScheduleRecheck stores p, a recheck or a confirmation of an answer, in place of
// what is scheduled. If that covers a later notification than the answer does, its
// attempts and first failure stay.
func (l *Store) ScheduleRecheck(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(p record.ScheduledLookUp, now Entry) (record.ScheduledLookUp, bool) {
		if !now.readable() {
			return p, true
		}
		return mergeRecheck(p, now.Parked), true
	})
}

// ScheduleConfirmation stores p, a look-up that normalize wants because an answer
// contradicts the order log. A scheduled look-up that asks the provider in any case,
// and no later, stays. It is written again, so that lookup cannot cancel it by a
// sequence that it read before.
func (l *Store) ScheduleConfirmation(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(p record.ScheduledLookUp, now Entry) (record.ScheduledLookUp, bool) {
		if !now.readable() {
			return p, true
		}
		asks := now.Parked.Cause != order.CauseNotification || now.Parked.Covers > p.Covers
		if asks && !now.Parked.DueAt.After(p.DueAt) {
			return mergeCoveredNotification(now.Parked, p), true
		}
		p.FailedLookUps = now.Parked.FailedLookUps // No observation has recorded them yet.
		return mergeRecheck(p, now.Parked), true
	})
}

// compareAndSwap reads what is scheduled, lets next decide, and writes with the sequence
// that was read as the expected one. On a conflict it starts again. Of two look-ups whose
// sequences are of different incarnations of NOTIFICATIONS, the older incarnation's covers
// nothing.
func (l *Store) compareAndSwap(ctx context.Context, p record.ScheduledLookUp, next func(p record.ScheduledLookUp, now Entry) (record.ScheduledLookUp, bool)) error {
	return stream.RetryConflicts(ctx, func() error {
		now, err := l.Read(ctx, p.Provider, p.Account, p.Payment)
		if err != nil {
			return err
		}
		created := p.NotificationsCreated
		if later := now.Parked.NotificationsCreated; later.After(created) {
			created = later
		}
		now.Parked = now.Parked.On(created)
		parked, write := next(p.On(created), now)
		if !write {
			return nil
		}
		return l.write(ctx, parked, now.Sequence)
	})
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
