package retry

import (
	"context"
	"errors"

	"arauto/schemas/record"
)

// Enqueue stores p, an operator's or a sweep's look-up that is due now, in place of
// what is scheduled. Attempts, first failure, refused credential and coverage of
// the replaced one stay, and a recheck or confirmation stays one.
func (l *Store) Enqueue(ctx context.Context, p record.ScheduledLookUp) error {
	return l.compareAndSwap(ctx, p, func(p record.ScheduledLookUp, now Entry) (record.ScheduledLookUp, bool) {
		next := p
		next.Expedited = true // Reschedule keeps the due time of an expedited look-up.
		if !now.readable() {
			return next, true
		}
		if followsAnswer(now.Parked) {
			next.Cause, next.Rechecks = now.Parked.Cause, now.Parked.Rechecks
		}
		next.Attempts, next.NotFound, next.FirstFailure = now.Parked.Attempts, now.Parked.NotFound, now.Parked.FirstFailure
		next.Refused, next.FailedLookUps = now.Parked.Refused, now.Parked.FailedLookUps
		if next.Fields == nil {
			next.Fields = now.Parked.Fields
		}
		return mergeCoveredNotification(next, now.Parked), true
	})
}

// ErrUnreadable means that the scheduled look-up does not decode.
var ErrUnreadable = errors.New("the scheduled look-up does not decode; the next look-up of the payment replaces it")

// Expedite makes the payment's scheduled look-up due at p.DueAt and changes nothing
// else of it. ok is false if none is scheduled. ErrUnreadable means that it cannot
// be brought forward.
func (l *Store) Expedite(ctx context.Context, p record.ScheduledLookUp) (ok bool, err error) {
	var unreadable bool
	err = l.compareAndSwap(ctx, p, func(p record.ScheduledLookUp, now Entry) (record.ScheduledLookUp, bool) {
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

// ReadDue returns the payment's look-up that the broker has delivered and no worker
// has acknowledged, or the zero Entry.
func (l *Store) ReadDue(ctx context.Context, provider, account, payment string) (Entry, error) {
	whose := record.ScheduledLookUp{Provider: provider, Account: account, Payment: payment}
	return l.read(ctx, l.tokens.Waiting(provider, account, payment).Due(), whose)
}
