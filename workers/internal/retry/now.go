package retry

import (
	"context"
	"errors"

	"arauto/schemas/record"
)

// Enqueue parks p, which should be due now, in place of what is parked. That
// one's budget, its mark of a refusal and the notification that it stands for
// stay: an operator who asks again must neither reset nor spend what the payment
// has left. What is to follow an answer stays that, because it is made in any
// case, and the answer to it may be stale as well: its series goes on.
func (l *Store) Enqueue(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(now Entry) (record.ScheduledLookUp, bool) {
		next := p
		next.Expedited = true // Also where nothing is parked: what fires and fails meanwhile must not move it, see Again.
		if !now.readable() {
			return next, true
		}
		if isRecheck(now.Parked) {
			next.Cause, next.Rechecks = now.Parked.Cause, now.Parked.Rechecks
		}
		next.Attempts, next.NotFound, next.FirstFailure = now.Parked.Attempts, now.Parked.NotFound, now.Parked.FirstFailure
		next.Refused, next.FailedLookUps = now.Parked.Refused, now.Parked.FailedLookUps
		if next.Fields == nil {
			next.Fields = now.Parked.Fields
		}
		return mergeCounts(next, now.Parked), true
	})
}

// ErrUnreadable means that what is parked does not decode.
var ErrUnreadable = errors.New("what is parked does not decode; the next look-up of the payment replaces it")

// Expedite makes what is parked for p's payment due at p.DueAt and keeps
// everything else of it. ok is false when nothing is parked, and ErrUnreadable
// means that it cannot be kept.
func (l *Store) Expedite(ctx context.Context, p record.ScheduledLookUp) (ok bool, err error) {
	var unreadable bool
	err = l.compareAndSwap(ctx, p, func(now Entry) (record.ScheduledLookUp, bool) {
		ok, unreadable = now.readable(), now.Unreadable
		next := now.Parked
		next.DueAt, next.Expedited = p.DueAt, true
		return next, ok
	})
	if err == nil && unreadable {
		err = ErrUnreadable
	}
	return ok, err
}

// ReadDue reads the look-up of a payment that has fired and is not yet done.
func (l *Store) ReadDue(ctx context.Context, provider, account, payment string) (Entry, error) {
	whose := record.ScheduledLookUp{Provider: provider, Account: account, Payment: payment}
	return l.read(ctx, l.tokens.Waiting(provider, account, payment).Due(), whose)
}
