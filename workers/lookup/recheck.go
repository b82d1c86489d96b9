package lookup

import (
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

// rechecks are the waits between an answer that may be stale and the next look-up: 2 s
// and 15 s after the first such answer. Guesses about how far a provider's read side
// lags.
var rechecks = [record.MaxRechecks]time.Duration{2 * time.Second, 13 * time.Second}

// recheck returns the wait and the number of the recheck that an answer needs, because
// a provider's read side may lag its own webhook: the answer is not final, and says
// nothing new, is pending, or is behind an earlier one.
//   - A recheck continues its series.
//   - A confirmation begins one, because it replaced the recheck of the answer it confirms.
//   - Look-ups of sweep and operators have none, unless they cover an unanswered notification.
func recheck(t task, before, seen order.Observation) (wait time.Duration, number int, ok bool) {
	made := 0
	switch t.cause {
	case order.CauseNotification, order.CauseConfirmation:
	case order.CauseRecheck:
		made = t.fired.Rechecks
	case order.CauseSweep, order.CauseOperator:
		if t.covers <= before.Covers {
			return 0, 0, false
		}
	}
	if made >= len(rechecks) || seen.Status == "" || seen.Kind.Final(seen.Status) {
		return 0, 0, false
	}
	if seen.Status == order.Pending || seen.SameWord(before) || behind(before, seen) {
		return rechecks[made], made + 1, true
	}
	return 0, 0, false
}

// behind reports whether an answer is behind an earlier one, by status or refunded sum.
func behind(before, seen order.Observation) bool {
	if before.Status == "" {
		return false
	}
	if seen.Kind.Reachable(seen.Status, before.Status) {
		return true
	}
	return seen.Status == before.Status && before.Amount != nil && seen.Amount != nil &&
		seen.Amount.Refunded < before.Amount.Refunded
}
