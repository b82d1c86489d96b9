package park

import (
	"context"

	"arauto/schemas/record"
)

// Summon parks p, which should be due now, in place of what is parked. That
// one's budget and the notification that it stands for stay: an operator who
// asks again must neither reset nor spend what the payment has left. What is to
// follow an answer stays that, because it is made in any case, and the answer to
// it may be stale as well: its series goes on.
func (l *Lot) Summon(ctx context.Context, p record.Parked) error {
	return l.swap(ctx, p, func(now Place) (record.Parked, bool) {
		next := p
		next.Early = true // Also where nothing is parked: what fires and fails meanwhile must not move it, see Again.
		if now.Sequence == 0 {
			return next, true
		}
		if follows(now.Parked) {
			next.Cause, next.Rechecks = now.Parked.Cause, now.Parked.Rechecks
		}
		next.Attempts, next.NotFound, next.FirstFailure = now.Parked.Attempts, now.Parked.NotFound, now.Parked.FirstFailure
		if next.Fields == nil {
			next.Fields = now.Parked.Fields
		}
		return raised(next, now.Parked), true
	})
}

// Hasten makes what is parked for p's payment due at p.DueAt and keeps
// everything else of it. ok is false when nothing is parked.
func (l *Lot) Hasten(ctx context.Context, p record.Parked) (ok bool, err error) {
	err = l.swap(ctx, p, func(now Place) (record.Parked, bool) {
		ok = now.Sequence != 0
		next := now.Parked
		next.DueAt, next.Early = p.DueAt, true
		return next, ok
	})
	return ok, err
}

// Due reads the look-up of a payment that has fired and is not yet done.
func (l *Lot) Due(ctx context.Context, provider, account, payment string) (Place, error) {
	return l.read(ctx, l.tokens.Waiting(provider, account, payment).Due())
}
