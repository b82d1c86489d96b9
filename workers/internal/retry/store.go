// Package retry is the one form of waiting: a look-up is parked until a time,
// as a message schedule in LOOKUP_RETRIES that the broker holds and fires.
// There is at most one per payment.
package retry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Store is where look-ups are parked. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	tokens subject.Tokens
	fill   *fill // nil for no bound.
}

// Open finds the stream.
func Open(ctx context.Context, js jetstream.JetStream, tokens subject.Tokens) (*Store, error) {
	stream, err := js.Stream(ctx, subject.LookupRetries)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.LookupRetries, err)
	}
	return &Store{js: js, stream: stream, tokens: tokens}, nil
}

// Entry is what was parked for a payment when it was read. The zero Place is
// an empty one.
type Entry struct {
	Sequence   uint64    // 0 when nothing is parked.
	At         time.Time // When it was parked.
	Parked     record.ScheduledLookUp
	Unreadable bool // It does not decode, or is another payment's: Parked says only whose place it is and when it comes due.
}

// readable reports whether something is parked that must be kept. What does not
// decode is replaced, so that it cannot hold its payment up until it fires.
func (p Entry) readable() bool { return p.Sequence > 0 && !p.Unreadable }

// Read reads from the stream's leader what is parked for a payment.
func (l *Store) Read(ctx context.Context, provider, account, payment string) (Entry, error) {
	whose := record.ScheduledLookUp{Provider: provider, Account: account, Payment: payment}
	return l.read(ctx, l.tokens.Waiting(provider, account, payment).Parked(), whose)
}

// read reads the last look-up on a subject, which is that of whose payment.
func (l *Store) read(ctx context.Context, on string, whose record.ScheduledLookUp) (Entry, error) {
	raw, err := stream.Last(ctx, l.stream, on)
	if err != nil || raw == nil {
		return Entry{}, err
	}
	place := Entry{Sequence: raw.Sequence, At: raw.Time}
	err = json.Unmarshal(raw.Data, &place.Parked)
	if p := place.Parked; err != nil || p.Provider != whose.Provider || p.Account != whose.Account || p.Payment != whose.Payment {
		if at, err := time.Parse(scheduled, raw.Header.Get(scheduleHeader)); err == nil {
			whose.DueAt = at
		}
		place.Parked, place.Unreadable = whose, true
	}
	return place, nil
}

// How a schedule tells the broker when it comes due.
const (
	scheduleHeader = "Nats-Schedule"
	scheduled      = "@at " + time.RFC3339Nano
)

// Cancel removes what was parked when place was read. If it fired or was
// replaced since, that is left alone.
func (l *Store) Cancel(ctx context.Context, place Entry) error {
	if place.Sequence == 0 {
		return nil
	}
	err := l.stream.DeleteMsg(ctx, place.Sequence)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) && l.gone(ctx, place) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cancel parked look-up %d: %w", place.Sequence, err)
	}
	return nil
}

// gone reports whether the parked look-up is no longer there. The client
// keeps the broker's reason for not deleting (10057) only as text.
func (l *Store) gone(ctx context.Context, place Entry) bool {
	_, err := l.stream.GetMsg(ctx, place.Sequence)
	return errors.Is(err, jetstream.ErrMsgNotFound)
}

// Schedule parks p only where nothing is parked. If something is, its due time
// and attempts stay and only the notification that it stands for is raised: a
// fresh notification must not reset a budget. What the sweep put off has none,
// and nobody waited for it: p takes its place where it comes due sooner.
func (l *Store) Schedule(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(now Entry) (record.ScheduledLookUp, bool) {
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

// ScheduleIfNone parks p, a fresh look-up that a gate of ours kept from being made, where
// nothing was parked for its payment when the caller looked. The broker refuses it
// where something is by now, and parked is false then.
func (l *Store) ScheduleIfNone(ctx context.Context, p record.ScheduledLookUp) (parked bool, err error) {
	p.Expedited = true // As in Held.
	err = l.write(ctx, p, 0)
	if stream.IsConflict(err) {
		return false, nil
	}
	return err == nil, err
}

// ScheduleUnasked parks p, a fresh look-up that a gate of ours kept from being made. If
// something is parked already that does not stand for p's notification, it
// comes due at the earlier of the two times, because that notification was not
// asked for at all. What waits for the same gate keeps its place there. Budget
// and first failure stay, and what comes due early spends nothing.
func (l *Store) ScheduleUnasked(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(now Entry) (record.ScheduledLookUp, bool) {
		if !now.readable() {
			p.Expedited = true // What fires and fails meanwhile must not move it: see Again.
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

// ExtendCoverage parks p, what waits already and is to stand for one more notification
// too. That has rechecks of its own, and comes due at the earlier of the two
// times; what so comes early spends nothing.
func (l *Store) ExtendCoverage(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(now Entry) (record.ScheduledLookUp, bool) {
		p.NotFound = min(p.NotFound, 1)
		if !now.readable() {
			p.Expedited = true // As in Held.
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

// expedited is p, due when another one is where that is earlier.
func expedited(p, other record.ScheduledLookUp) record.ScheduledLookUp {
	if other.DueAt.Before(p.DueAt) {
		p.DueAt, p.Reason, p.Expedited = other.DueAt, other.Reason, true
	}
	return p
}

// Reschedule parks p after it fired and failed, in place of what is parked. The
// spent budget and the notification that it stands for only ever grow. What was
// to come due early, because its notification is still to be asked for or
// somebody wishes so, still does, and so does what is to follow an answer.
func (l *Store) Reschedule(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(now Entry) (record.ScheduledLookUp, bool) {
		next := p
		if !now.readable() {
			return next, true
		}
		next = mergeCounts(next, now.Parked)
		next.FailedLookUps = order.JoinFailed(now.Parked.FailedLookUps, next.FailedLookUps)
		next.Refused = next.Refused || now.Parked.Refused
		if p.Cause == order.CauseNotification {
			next.Cause = now.Parked.Cause // A recheck, say, is made whatever has been answered meanwhile.
		}
		if now.Parked.Attempts > p.Attempts {
			next.Attempts, next.FirstFailure, next.DueAt = now.Parked.Attempts, now.Parked.FirstFailure, now.Parked.DueAt
		}
		if isRecheck(now.Parked) && now.Parked.DueAt.Before(next.DueAt) {
			next.Cause, next.Rechecks = now.Parked.Cause, now.Parked.Rechecks
		}
		if isRecheck(now.Parked) || now.Parked.Expedited {
			next = expedited(next, now.Parked)
		}
		return next, true
	})
}

// ScheduleRecheck parks what must follow an answer, a recheck or a confirmation, in
// place of what is parked. If that stands for a later notification, which the
// answer did not settle, its spent budget stays, and coming due before its time
// spends nothing of it.
func (l *Store) ScheduleRecheck(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(now Entry) (record.ScheduledLookUp, bool) {
		if !now.readable() {
			return p, true
		}
		return mergeRecheck(p, now.Parked), true
	})
}

// mergeRecheck is p in the place of what was parked, as Follow has it.
func mergeRecheck(p, old record.ScheduledLookUp) record.ScheduledLookUp {
	if old.Covers > p.Covers {
		p.Attempts, p.FirstFailure = old.Attempts, old.FirstFailure
		p.Expedited = old.Expedited || p.DueAt.Before(old.DueAt)
	}
	return mergeCounts(p, old)
}

// ScheduleConfirmation parks p, a look-up that normalize wants because an answer contradicts
// the order log. If what is parked asks the provider no later in any case, that
// stays, because its answer leads here again. It is written again all the same:
// lookup, which may be about to cancel what it read before it stored that answer,
// then leaves it.
func (l *Store) ScheduleConfirmation(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(now Entry) (record.ScheduledLookUp, bool) {
		if !now.readable() {
			return p, true
		}
		asks := now.Parked.Cause != order.CauseNotification || now.Parked.Covers > p.Covers
		if asks && !now.Parked.DueAt.After(p.DueAt) {
			return mergeCounts(now.Parked, p), true
		}
		p.FailedLookUps = now.Parked.FailedLookUps // No answer has taken them over.
		return mergeRecheck(p, now.Parked), true
	})
}

// mergeCoverage is what waits already and is to stand for a later notification too.
// That has a series of rechecks of its own, and makes a look-up of the sweep's
// its own: somebody waits for it now.
func mergeCoverage(kept, p record.ScheduledLookUp) record.ScheduledLookUp {
	kept.Rechecks = 0
	kept.Refused = kept.Refused || p.Refused
	if kept.Cause == order.CauseSweep {
		kept.Cause = order.CauseNotification
	}
	return mergeCounts(kept, p)
}

// isRecheck reports whether a parked look-up is to follow an answer.
func isRecheck(p record.ScheduledLookUp) bool {
	return p.Cause == order.CauseRecheck || p.Cause == order.CauseConfirmation
}

// mergeCounts keeps the higher of two notifications that a parked look-up stands
// for.
func mergeCounts(p, old record.ScheduledLookUp) record.ScheduledLookUp {
	if old.Covers > p.Covers {
		p.Cover(old)
	}
	return p
}

// compareAndSwap reads the place, lets next decide, and writes under the guard of what
// was read, until nobody came between.
func (l *Store) compareAndSwap(ctx context.Context, p record.ScheduledLookUp, next func(Entry) (record.ScheduledLookUp, bool)) error {
	return stream.RetryConflicts(ctx, func() error {
		now, err := l.Read(ctx, p.Provider, p.Account, p.Payment)
		if err != nil {
			return err
		}
		parked, write := next(now)
		if !write {
			return nil
		}
		return l.write(ctx, parked, now.Sequence)
	})
}

// write publishes the schedule. The client's own option truncates to whole
// seconds and would fire early, so the header is written here.
func (l *Store) write(ctx context.Context, p record.ScheduledLookUp, guard uint64) error {
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode parked look-up: %w", err)
	}
	place := l.tokens.Waiting(p.Provider, p.Account, p.Payment)
	m := nats.NewMsg(place.Parked())
	m.Data = body
	m.Header.Set(scheduleHeader, p.DueAt.UTC().Format(scheduled))
	m.Header.Set("Nats-Schedule-Target", place.Due())
	if _, err := l.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(guard)); err != nil {
		return fmt.Errorf("park look-up: %w", err)
	}
	return nil
}
