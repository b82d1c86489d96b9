// Package park is the one form of waiting: a look-up is parked until a time,
// as a message schedule in LOOKUP_RETRIES that the broker holds and fires.
// There is at most one per payment.
package park

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/chain"
)

// Lot is where look-ups are parked. It is safe for concurrent use.
type Lot struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	tokens subject.Tokens
	fill   *fill // nil for no bound.
}

// Open finds the stream.
func Open(ctx context.Context, js jetstream.JetStream, tokens subject.Tokens) (*Lot, error) {
	stream, err := js.Stream(ctx, subject.LookupRetries)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.LookupRetries, err)
	}
	return &Lot{js: js, stream: stream, tokens: tokens}, nil
}

// Place is what was parked for a payment when it was read. The zero Place is
// an empty one.
type Place struct {
	Sequence   uint64    // 0 when nothing is parked.
	At         time.Time // When it was parked.
	Parked     record.Parked
	Unreadable bool // It does not decode, or is another payment's: Parked says only whose place it is and when it comes due.
}

// keeps reports whether something is parked that must be kept. What does not
// decode is replaced, so that it cannot hold its payment up until it fires.
func (p Place) keeps() bool { return p.Sequence > 0 && !p.Unreadable }

// Look reads from the stream's leader what is parked for a payment.
func (l *Lot) Look(ctx context.Context, provider, account, payment string) (Place, error) {
	whose := record.Parked{Provider: provider, Account: account, Payment: payment}
	return l.read(ctx, l.tokens.Waiting(provider, account, payment).Parked(), whose)
}

// read reads the last look-up on a subject, which is that of whose payment.
func (l *Lot) read(ctx context.Context, on string, whose record.Parked) (Place, error) {
	raw, err := l.stream.GetLastMsgForSubject(ctx, on)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Place{}, nil
	}
	if err != nil {
		return Place{}, fmt.Errorf("read parked look-up: %w", err)
	}
	place := Place{Sequence: raw.Sequence, At: raw.Time}
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
func (l *Lot) Cancel(ctx context.Context, place Place) error {
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
func (l *Lot) gone(ctx context.Context, place Place) bool {
	_, err := l.stream.GetMsg(ctx, place.Sequence)
	return errors.Is(err, jetstream.ErrMsgNotFound)
}

// conflicts bounds how often a lost race is run again before the caller is
// told; each loss means that somebody else parked, so this is generous.
const conflicts = 20

// ErrContended means that others kept parking for the same payment.
var ErrContended = errors.New("parking is contended")

// First parks p only where nothing is parked. If something is, its due time
// and attempts stay and only the notification that it stands for is raised: a
// fresh notification must not reset a budget. What the sweep put off has none,
// and nobody waited for it: p takes its place where it comes due sooner.
func (l *Lot) First(ctx context.Context, p record.Parked) error {
	return l.swap(ctx, p, func(now Place) (record.Parked, bool) {
		if !now.keeps() {
			return p, true
		}
		kept := now.Parked
		if p.For <= kept.For {
			return kept, false
		}
		failed := order.JoinFailed(kept.FailedLookUps, p.FailedLookUps)
		kept.FailedLookUps, p.FailedLookUps = failed, failed
		if kept.Cause == order.CauseSweep && kept.FirstFailure == nil && kept.NotFound == 0 && p.DueAt.Before(kept.DueAt) {
			return p, true
		}
		return joined(kept, p), true
	})
}

// Alone parks p, a fresh look-up that a gate of ours kept from being made, where
// nothing was parked for its payment when the caller looked. The broker refuses it
// where something is by now, and parked is false then.
func (l *Lot) Alone(ctx context.Context, p record.Parked) (parked bool, err error) {
	p.Early = true // As in Held.
	err = l.write(ctx, p, 0)
	if chain.Conflict(err) {
		return false, nil
	}
	return err == nil, err
}

// Held parks p, a fresh look-up that a gate of ours kept from being made. If
// something is parked already that does not stand for p's notification, it
// comes due at the earlier of the two times, because that notification was not
// asked for at all. What waits for the same gate keeps its place there. Budget
// and first failure stay, and what comes due early spends nothing.
func (l *Lot) Held(ctx context.Context, p record.Parked) error {
	return l.swap(ctx, p, func(now Place) (record.Parked, bool) {
		if !now.keeps() {
			p.Early = true // What fires and fails meanwhile must not move it: see Again.
			return p, true
		}
		kept := now.Parked
		if p.For <= kept.For {
			return kept, false
		}
		kept = joined(kept, p)
		if kept.Waits != p.Waits {
			kept = hastened(kept, p)
		}
		return kept, true
	})
}

// Join parks p, what waits already and is to stand for one more notification
// too. That has rechecks of its own, and comes due at the earlier of the two
// times; what so comes early spends nothing.
func (l *Lot) Join(ctx context.Context, p record.Parked) error {
	return l.swap(ctx, p, func(now Place) (record.Parked, bool) {
		p.NotFound = min(p.NotFound, 1)
		if !now.keeps() {
			p.Early = true // As in Held.
			return p, true
		}
		kept := now.Parked
		if p.For <= kept.For {
			return kept, false
		}
		kept = joined(kept, p)
		kept.NotFound = min(kept.NotFound, 1)
		return hastened(kept, p), true
	})
}

// hastened is p, due when another one is where that is earlier.
func hastened(p, other record.Parked) record.Parked {
	if other.DueAt.Before(p.DueAt) {
		p.DueAt, p.Waits, p.Early = other.DueAt, other.Waits, true
	}
	return p
}

// Again parks p after it fired and failed, in place of what is parked. The
// spent budget and the notification that it stands for only ever grow. What was
// to come due early, because its notification is still to be asked for or
// somebody wishes so, still does, and so does what is to follow an answer.
func (l *Lot) Again(ctx context.Context, p record.Parked) error {
	return l.swap(ctx, p, func(now Place) (record.Parked, bool) {
		next := p
		if !now.keeps() {
			return next, true
		}
		next = raised(next, now.Parked)
		next.FailedLookUps = order.JoinFailed(now.Parked.FailedLookUps, next.FailedLookUps)
		next.Refused = next.Refused || now.Parked.Refused
		if p.Cause == order.CauseNotification {
			next.Cause = now.Parked.Cause // A recheck, say, is made whatever has been answered meanwhile.
		}
		if now.Parked.Attempts > p.Attempts {
			next.Attempts, next.FirstFailure, next.DueAt = now.Parked.Attempts, now.Parked.FirstFailure, now.Parked.DueAt
		}
		if follows(now.Parked) && now.Parked.DueAt.Before(next.DueAt) {
			next.Cause, next.Rechecks = now.Parked.Cause, now.Parked.Rechecks
		}
		if follows(now.Parked) || now.Parked.Early {
			next = hastened(next, now.Parked)
		}
		return next, true
	})
}

// Follow parks what must follow an answer, a recheck or a confirmation, in
// place of what is parked. If that stands for a later notification, which the
// answer did not settle, its spent budget stays, and coming due before its time
// spends nothing of it.
func (l *Lot) Follow(ctx context.Context, p record.Parked) error {
	return l.swap(ctx, p, func(now Place) (record.Parked, bool) {
		if !now.keeps() {
			return p, true
		}
		return followed(p, now.Parked), true
	})
}

// followed is p in the place of what was parked, as Follow has it.
func followed(p, old record.Parked) record.Parked {
	if old.For > p.For {
		p.Attempts, p.FirstFailure = old.Attempts, old.FirstFailure
		p.Early = old.Early || p.DueAt.Before(old.DueAt)
	}
	return raised(p, old)
}

// Confirm parks p, a look-up that normalize wants because an answer contradicts
// the order log. If what is parked asks the provider no later in any case, that
// stays, because its answer leads here again. It is written again all the same:
// lookup, which may be about to cancel what it read before it stored that answer,
// then leaves it.
func (l *Lot) Confirm(ctx context.Context, p record.Parked) error {
	return l.swap(ctx, p, func(now Place) (record.Parked, bool) {
		if !now.keeps() {
			return p, true
		}
		asks := now.Parked.Cause != order.CauseNotification || now.Parked.For > p.For
		if asks && !now.Parked.DueAt.After(p.DueAt) {
			return raised(now.Parked, p), true
		}
		p.FailedLookUps = now.Parked.FailedLookUps // No answer has taken them over.
		return followed(p, now.Parked), true
	})
}

// joined is what waits already and is to stand for a later notification too.
// That has a series of rechecks of its own, and makes a look-up of the sweep's
// its own: somebody waits for it now.
func joined(kept, p record.Parked) record.Parked {
	kept.Rechecks = 0
	kept.Refused = kept.Refused || p.Refused
	if kept.Cause == order.CauseSweep {
		kept.Cause = order.CauseNotification
	}
	return raised(kept, p)
}

// follows reports whether a parked look-up is to follow an answer.
func follows(p record.Parked) bool {
	return p.Cause == order.CauseRecheck || p.Cause == order.CauseConfirmation
}

// raised keeps the higher of two notifications that a parked look-up stands
// for.
func raised(p, old record.Parked) record.Parked {
	if old.For > p.For {
		p.StandFor(old)
	}
	return p
}

// swap reads the place, lets next decide, and writes under the guard of what
// was read, until nobody came between.
func (l *Lot) swap(ctx context.Context, p record.Parked, next func(Place) (record.Parked, bool)) error {
	for range conflicts {
		now, err := l.Look(ctx, p.Provider, p.Account, p.Payment)
		if err != nil {
			return err
		}
		parked, write := next(now)
		if !write {
			return nil
		}
		err = l.write(ctx, parked, now.Sequence)
		if !chain.Conflict(err) {
			return err
		}
		if err := chain.Settle(ctx, err); err != nil {
			return fmt.Errorf("park look-up: %w", err)
		}
	}
	return fmt.Errorf("park look-up: %w", ErrContended)
}

// write publishes the schedule. The client's own option truncates to whole
// seconds and would fire early, so the header is written here.
func (l *Lot) write(ctx context.Context, p record.Parked, guard uint64) error {
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
