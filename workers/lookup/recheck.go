package lookup

import (
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

// rechecks are the waits between an answer that may be stale and the next
// look: 2 s and 15 s after the first such answer.
var rechecks = [record.MaxRechecks]time.Duration{2 * time.Second, 13 * time.Second}

// recheck says whether an answer wants another look, because a provider's
// read side may lag its own webhook: it is not final and says what was known
// already, is pending, or is behind what was known. It returns the wait and
// the number of that recheck in its series. Rechecks go on with their series
// and never start a new one. A confirmation begins one, because it took the
// place of the recheck of the answer that it is to confirm. Sweeps and operators
// have none, unless a notification that nobody has answered waits for them.
func recheck(t task, before, seen order.Observation) (wait time.Duration, number int, ok bool) {
	made := 0
	switch t.cause {
	case order.CauseNotification, order.CauseConfirmation:
	case order.CauseRecheck:
		made = t.fired.Rechecks
	case order.CauseSweep, order.CauseOperator:
		if t.stands <= before.Covers {
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

// behind reports whether the payment seems to have been further already.
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
