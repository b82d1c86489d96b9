package park

import (
	"context"
	"errors"

	"arauto/schemas/record"
)

// Summon parks p, which should be due now, in place of what is parked. That
// one's budget, its mark of a refusal and the notification that it stands for
// stay: an operator who asks again must neither reset nor spend what the payment
// has left. What is to follow an answer stays that, because it is made in any
// case, and the answer to it may be stale as well: its series goes on.
func (l *Lot) Summon(ctx context.Context, p record.Parked) error {
	return l.swap(ctx, p, func(now Place) (record.Parked, bool) {
		next := p
		next.Early = true // Also where nothing is parked: what fires and fails meanwhile must not move it, see Again.
		if !now.keeps() {
			return next, true
		}
		if follows(now.Parked) {
			next.Cause, next.Rechecks = now.Parked.Cause, now.Parked.Rechecks
		}
		next.Attempts, next.NotFound, next.FirstFailure = now.Parked.Attempts, now.Parked.NotFound, now.Parked.FirstFailure
		next.Refused, next.FailedLookUps = now.Parked.Refused, now.Parked.FailedLookUps
		if next.Fields == nil {
			next.Fields = now.Parked.Fields
		}
		return raised(next, now.Parked), true
	})
}

// ErrUnreadable means that what is parked does not decode.
var ErrUnreadable = errors.New("what is parked does not decode; the next look-up of the payment replaces it")

// Hasten makes what is parked for p's payment due at p.DueAt and keeps
// everything else of it. ok is false when nothing is parked, and ErrUnreadable
// means that it cannot be kept.
func (l *Lot) Hasten(ctx context.Context, p record.Parked) (ok bool, err error) {
	var unreadable bool
	err = l.swap(ctx, p, func(now Place) (record.Parked, bool) {
		ok, unreadable = now.keeps(), now.Unreadable
		next := now.Parked
		next.DueAt, next.Early = p.DueAt, true
		return next, ok
	})
	if err == nil && unreadable {
		err = ErrUnreadable
	}
	return ok, err
}

// Due reads the look-up of a payment that has fired and is not yet done.
func (l *Lot) Due(ctx context.Context, provider, account, payment string) (Place, error) {
	whose := record.Parked{Provider: provider, Account: account, Payment: payment}
	return l.read(ctx, l.tokens.Waiting(provider, account, payment).Due(), whose)
}
