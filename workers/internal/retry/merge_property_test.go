package retry_test

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

var (
	causes = []order.Cause{order.CauseNotification, order.CauseRecheck, order.CauseConfirmation, order.CauseSweep, order.CauseOperator, order.CauseExpectation}
	words  = []string{"transport", "not_found", "rate_limit", "circuit", "credential", "recheck", "sweep", "operator", "expectation"}
)

// drawn is any look-up of the payment p for one of the causes.
func drawn(rt *rapid.T, name string, causes ...order.Cause) record.ScheduledLookUp {
	number := func(most int, of string) int { return rapid.IntRange(0, most).Draw(rt, name+" "+of) }
	p := a(uint64(number(3, "covers")), 0, unfailed, due(number(5, "due")), unknown(number(3, "unknown")))
	p.Cause, p.Reason = rapid.SampledFrom(causes).Draw(rt, name+" cause"), rapid.SampledFrom(words).Draw(rt, name+" reason")
	if p.Rechecks = number(2, "rechecks"); !follows(p) {
		p.Rechecks = 0
	}
	if p.Attempts = number(3, "attempts"); p.Attempts > 0 {
		first := far(-number(9, "first failure"))
		p.FirstFailure = &first
	}
	for hour := range number(3, "failures") {
		refused(hour)(&p)
	}
	p.Expedited = number(1, "expedited") == 1
	p.NotificationsCreated = time.Date(2026, 1, 1+number(1, "incarnation"), 0, 0, 0, 0, time.UTC)
	return p
}

var requests = []retry.Request{
	retry.Fresh, retry.Deferred, retry.Retry, retry.Recheck, retry.Confirmation, retry.Enqueue, retry.Expedite, retry.Resume, retry.Expected,
}

// drawnRequest is a request as its caller makes it.
func drawnRequest(rt *rapid.T, as retry.Request) record.ScheduledLookUp {
	switch as {
	case retry.Fresh, retry.Deferred:
		p := drawn(rt, "p", order.CauseNotification)
		p.Attempts, p.Covers = 0, p.Covers+1
		return p
	case retry.Retry:
		return drawn(rt, "p", causes...)
	case retry.Recheck, retry.Confirmation:
		p := drawn(rt, "p", order.CauseRecheck, order.CauseConfirmation)
		p.Attempts, p.FirstFailure, p.NotFound, p.Expedited, p.FailedLookUps = 0, nil, 0, false, nil
		return p
	case retry.Expected:
		p := drawn(rt, "p", order.CauseExpectation)
		p.Attempts, p.FirstFailure, p.NotFound, p.Expedited = 0, nil, 0, false
		return p
	case retry.Resume:
		p := drawn(rt, "p", order.CauseNotification)
		p.Covers, p.NotificationsCreated, p.FailedLookUps = 0, time.Time{}, nil
		return p
	case retry.Enqueue, retry.Expedite:
	}
	return a(0, 0, of(order.CauseOperator, 0), unannounced, unfailed, due(rapid.IntRange(0, 5).Draw(rt, "p due")))
}

// ofEachRequest checks a property of every request.
func ofEachRequest(t *testing.T, check func(*rapid.T, retry.Request)) {
	t.Helper()
	for _, as := range requests {
		t.Run(string(as), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) { check(rt, as) })
		})
	}
}

func follows(p record.ScheduledLookUp) bool {
	return p.Cause == order.CauseRecheck || p.Cause == order.CauseConfirmation
}

// For any scheduled look-up and any request:
//   - The covered notification never decreases, and of two incarnations of NOTIFICATIONS the
//     earlier one's covers nothing.
//   - Attempts never decrease, unless an answer covers what they were spent for.
//   - The look-up is due at one of both times.
//   - A recheck or a confirmation is never lost.
//   - No failed look-up is lost, unless an answer has recorded it.
//   - The same request again changes nothing.
func TestRulesOfAnyMerge(t *testing.T) {
	t.Parallel()
	ofEachRequest(t, func(rt *rapid.T, as retry.Request) {
		old, p := drawn(rt, "old", causes...), drawnRequest(rt, as)
		next, written := retry.Merge(old, p, as)
		created := old.NotificationsCreated
		if p.NotificationsCreated.After(created) {
			created = p.NotificationsCreated
		}
		covered := max(old.On(created).Covers, p.On(created).Covers)
		if next.Covers != covered {
			rt.Fatalf("%d is covered, want %d", next.Covers, covered)
		}
		answered := (as == retry.Recheck || as == retry.Confirmation) && p.On(created).Covers == covered
		if next.Attempts < old.Attempts && !answered {
			rt.Fatalf("%d attempts became %d", old.Attempts, next.Attempts)
		}
		if !next.DueAt.Equal(old.DueAt) && !next.DueAt.Equal(p.DueAt) {
			rt.Fatalf("due %v, of %v and %v", next.DueAt, old.DueAt, p.DueAt)
		}
		madeAnyway := as == retry.Confirmation && (next.Cause != order.CauseNotification || next.Covers > p.On(created).Covers)
		if (follows(old) || follows(p)) && !follows(next) && !madeAnyway {
			rt.Fatalf("a %s and a %s became a %s", old.Cause, p.Cause, next.Cause)
		}
		if as != retry.Recheck && written && len(next.FailedLookUps) < max(len(old.FailedLookUps), len(p.FailedLookUps)) {
			rt.Fatalf("failures %v and %v became %v", old.FailedLookUps, p.FailedLookUps, next.FailedLookUps)
		}
		again, written := retry.Merge(next, p, as)
		if !reflect.DeepEqual(again, next) {
			rt.Fatalf("again, written %v, it became\n%+v, not\n%+v", written, again, next)
		}
	})
}

// A look-up of an expected payment never changes another one that is scheduled, but for the
// notification that it covers and its failed look-ups.
func TestExpectedPaymentYieldsToEveryOtherLookUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		old := drawn(rt, "old", causes[:len(causes)-1]...)
		p := drawnRequest(rt, retry.Expected)
		p.NotificationsCreated, p.Covers = old.NotificationsCreated, 0
		for _, as := range []retry.Request{retry.Expected, retry.Retry} {
			next, _ := retry.Merge(old, p, as)
			next.FailedLookUps = old.FailedLookUps
			if !reflect.DeepEqual(next, old) {
				rt.Fatalf("%s: %+v became %+v", as, old, next)
			}
		}
	})
}

// exceptions are the requests after which a look-up may be due at the later time, and when.
var exceptions = map[retry.Request]func(old, p record.ScheduledLookUp) bool{
	retry.Fresh: func(old, p record.ScheduledLookUp) bool {
		return p.DueAt.Before(old.DueAt) && old.Cause != order.CauseSweep && old.Cause != order.CauseExpectation || old.FirstFailure != nil || old.NotFound > 0
	},
	retry.Deferred: func(old, p record.ScheduledLookUp) bool { return old.Reason == p.Reason },
	retry.Retry: func(old, p record.ScheduledLookUp) bool {
		return old.Attempts > p.Attempts || !follows(old) && !old.Expedited || p.Cause == order.CauseExpectation
	},
	retry.Expected: func(old, p record.ScheduledLookUp) bool {
		return old.Cause != order.CauseExpectation || old.Attempts != p.Attempts
	},
	retry.Recheck: func(record.ScheduledLookUp, record.ScheduledLookUp) bool { return true },
	retry.Confirmation: func(old, p record.ScheduledLookUp) bool {
		return old.Cause == order.CauseNotification && old.Covers <= p.Covers
	},
	retry.Resume:   func(old, p record.ScheduledLookUp) bool { return false },
	retry.Enqueue:  func(record.ScheduledLookUp, record.ScheduledLookUp) bool { return true },
	retry.Expedite: func(record.ScheduledLookUp, record.ScheduledLookUp) bool { return true },
}

func TestEarlierDueTimeWins(t *testing.T) {
	t.Parallel()
	ofEachRequest(t, func(rt *rapid.T, as retry.Request) {
		old, p := drawn(rt, "old", causes...), drawnRequest(rt, as)
		p.NotificationsCreated = old.NotificationsCreated
		next, written := retry.Merge(old, p, as)
		if !written || exceptions[as](old, p) {
			return
		}
		if next.DueAt.After(old.DueAt) || next.DueAt.After(p.DueAt) {
			rt.Fatalf("%s: due %v, of %v and %v", as, next.DueAt, old.DueAt, p.DueAt)
		}
	})
}
