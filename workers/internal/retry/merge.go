package retry

import (
	"arauto/schemas/order"
	"arauto/schemas/record"
)

// Request says why a look-up is to be scheduled.
type Request string

// The requests.
const (
	Fresh        Request = "fresh"        // A notification's look-up failed, or a sweep wants one.
	Deferred     Request = "deferred"     // A notification's look-up was not made: by a limit, or because the provider has just called the payment unknown.
	Retry        Request = "retry"        // A scheduled look-up was due and failed.
	Recheck      Request = "recheck"      // An answer of lookup may be stale.
	Confirmation Request = "confirmation" // An answer contradicts the order log, so normalize wants another.
	Enqueue      Request = "enqueue"      // An operator wants a look-up now.
	Expedite     Request = "expedite"     // An operator wants the scheduled look-up now.
	Expected     Request = "expected"     // An internal service expects the payment. It yields to every other look-up.
	Resume       Request = "resume"       // The circuit for which the scheduled look-up waits has closed.
)

// Merge returns what is scheduled for a payment after a request, as its only scheduled
// look-up; old is the one before, zero for none. write is false where nothing changes. The
// later of both notifications is covered, and every failed look-up since the last answer is
// kept. TestMerge has a row for each rule.
func Merge(old, p record.ScheduledLookUp, as Request) (next record.ScheduledLookUp, write bool) {
	created := p.NotificationsCreated
	if old.NotificationsCreated.After(created) {
		created = old.NotificationsCreated
	}
	old, p = old.On(created), p.On(created)
	if old.Payment == "" {
		p.Expedited = p.Expedited || as == Deferred || as == Enqueue
		return p, as != Expedite && as != Resume
	}
	if p.Cause == order.CauseExpectation && (as == Expected || as == Retry) {
		return mergeExpected(old, p)
	}
	next = p
	switch as {
	case Expected:
		return old, false // Only look-ups of expected payments are requested so.
	case Fresh, Deferred:
		if p.Covers <= old.Covers {
			return old, false
		}
		next = mergeNotification(old, p, as)
	case Retry:
		next = mergeRetry(old, p)
	case Recheck, Confirmation:
		asks := old.Cause != order.CauseNotification || old.Covers > p.Covers
		if as == Confirmation && asks && !old.DueAt.After(p.DueAt) {
			next = old // It is written all the same, so that lookup cannot cancel it by a sequence that it read before.
		} else if old.Covers > p.Covers {
			next.Attempts, next.FirstFailure = old.Attempts, old.FirstFailure
			next.Expedited = old.Expedited || p.DueAt.Before(old.DueAt)
		}
	case Enqueue:
		next.Attempts, next.NotFound, next.FirstFailure, next.Expedited = old.Attempts, old.NotFound, old.FirstFailure, true
		if followsAnswer(old) {
			next.Cause, next.Rechecks = old.Cause, old.Rechecks
		}
		if next.Fields == nil {
			next.Fields = old.Fields
		}
	case Expedite:
		next = old
		next.DueAt, next.Expedited = p.DueAt, true
	case Resume:
		if !WaitsForCircuit(old) || !p.DueAt.Before(old.DueAt) {
			return old, false
		}
		next = old
		next.DueAt = p.DueAt
	}
	if as != Recheck { // The observation of a recheck's answer has recorded those of old.
		next.FailedLookUps = order.JoinFailed(old.FailedLookUps, p.FailedLookUps)
	}
	for _, other := range []record.ScheduledLookUp{old, p} {
		if other.Covers > next.Covers {
			next.Cover(other)
		}
	}
	next.NotificationsCreated = created
	return next, true
}

// mergeExpected returns what is scheduled after the look-up p of an expected payment is
// requested, or has failed. Any look-up makes it needless, so old stays as it is, but for
// the notification that p covers and the failed look-ups. Of two look-ups of an expected
// payment the earlier one is made; if p has spent attempts, it is the retry that stays.
func mergeExpected(old, p record.ScheduledLookUp) (next record.ScheduledLookUp, write bool) {
	next = old
	if both := old.Cause == order.CauseExpectation; both && p.Attempts > old.Attempts {
		next = p
	} else if both && p.Attempts == old.Attempts && p.DueAt.Before(old.DueAt) {
		next.DueAt, next.Reason = p.DueAt, p.Reason
	}
	next.FailedLookUps = order.JoinFailed(old.FailedLookUps, p.FailedLookUps)
	switch {
	case p.Covers > old.Covers:
		next.Cover(p)
	case next.Covers < old.Covers:
		next.Cover(old)
	}
	next.NotificationsCreated = p.NotificationsCreated
	if old.NotificationsCreated.After(p.NotificationsCreated) {
		next.NotificationsCreated = old.NotificationsCreated
	}
	changed := !next.DueAt.Equal(old.DueAt) || next.Covers != old.Covers || next.Attempts != old.Attempts ||
		len(next.FailedLookUps) != len(old.FailedLookUps)
	if !changed {
		return old, false
	}
	return next, true
}

// optional reports whether a scheduled look-up that has not failed yields to one for a
// notification that is due earlier.
func optional(p record.ScheduledLookUp) bool {
	return p.Cause == order.CauseSweep || p.Cause == order.CauseExpectation
}

// mergeNotification returns old, which is to cover p's notification too. Its attempts stay,
// and its due time unless p was deferred: then the earlier one wins, except between two
// look-ups that wait for the same limit. A look-up of a sweep, or of an expected payment, that
// has not failed yields to an earlier p.
func mergeNotification(old, p record.ScheduledLookUp, as Request) record.ScheduledLookUp {
	if optional(old) && old.FirstFailure == nil && old.NotFound == 0 && p.DueAt.Before(old.DueAt) {
		p.Expedited = p.Expedited || as == Deferred
		return p
	}
	next := old
	next.Cause, next.Rechecks = series(old, p)
	if p.NotFound > 0 {
		next.NotFound = min(next.NotFound, p.NotFound)
	}
	if as == Deferred && (p.Reason != old.Reason || p.NotFound > 0) {
		next = sooner(next, p)
	}
	return next
}

// mergeRetry returns p, which was due and failed, merged with old, which was scheduled since.
// A recheck, a confirmation and an expedited look-up keep an earlier due time.
func mergeRetry(old, p record.ScheduledLookUp) record.ScheduledLookUp {
	if old.Attempts > p.Attempts { // p is an earlier attempt that was delivered again.
		p.Attempts, p.FirstFailure = old.Attempts, old.FirstFailure
		p.DueAt, p.Reason, p.Expedited = old.DueAt, old.Reason, old.Expedited
	}
	if followsAnswer(old) || p.Cause == order.CauseNotification {
		p.Cause, p.Rechecks = series(old, p)
	}
	if followsAnswer(old) || old.Expedited {
		p = sooner(p, old)
	}
	return p
}

// series returns the cause of old and its number of rechecks once it covers p's notification
// too. A later notification has a recheck series of its own, and is more urgent than a sweep
// or an expectation.
func series(old, p record.ScheduledLookUp) (order.Cause, int) {
	switch {
	case p.Covers <= old.Covers:
		return old.Cause, old.Rechecks
	case optional(old):
		return order.CauseNotification, 0
	}
	return old.Cause, 0
}

// sooner returns p, due at other's time and expedited where that is earlier.
func sooner(p, other record.ScheduledLookUp) record.ScheduledLookUp {
	if other.DueAt.Before(p.DueAt) {
		p.DueAt, p.Reason, p.Expedited = other.DueAt, other.Reason, true
	}
	return p
}

// followsAnswer reports whether a look-up is a recheck or a confirmation, which is made even
// if an answer covers its notification.
func followsAnswer(p record.ScheduledLookUp) bool {
	return p.Cause == order.CauseRecheck || p.Cause == order.CauseConfirmation
}

// WaitsForCircuit reports whether a look-up was deferred because a circuit breaker was open.
func WaitsForCircuit(p record.ScheduledLookUp) bool {
	return p.Reason == string(record.Stopped) || p.Reason == string(record.Credential)
}
