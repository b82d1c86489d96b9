package stale

import (
	"time"

	"arauto/schemas/order"
)

// step is the longest time without an answer for a payment that has been in its status
// for less than until.
type step struct{ until, every time.Duration }

const (
	hour = time.Hour
	day  = 24 * hour
	// always ends every list. The configured horizon bounds the age of a payment.
	always = 100 * 365 * day
)

// movingCadence is for statuses that a payment should leave soon, while the customer
// waits. The cadences are guesses.
var movingCadence = []step{{hour, 5 * time.Minute}, {day, hour}, {7 * day, 6 * hour}, {30 * day, day}, {always, 7 * day}}

// finalCadence is for statuses in which most payments stay for ever: a refund or a
// chargeback is rare.
var finalCadence = []step{{7 * day, day}, {90 * day, 7 * day}, {always, 28 * day}}

// disputedCadence lies between the two: a dispute takes weeks, and its end matters.
var disputedCadence = []step{{7 * day, 6 * hour}, {30 * day, day}, {always, 7 * day}}

// cadence is the whole policy. Every interval is shorter than the retention of STATUSES,
// so a payment without an observation had no answer for longer than its interval.
var cadence = map[order.Status][]step{
	order.Pending:           movingCadence,
	order.Processing:        movingCadence,
	order.InAnalysis:        movingCadence,
	order.Authorized:        movingCadence,
	order.Paid:              finalCadence,
	order.Settled:           finalCadence,
	order.PartiallyRefunded: finalCadence,
	order.Disputed:          disputedCadence,
}

// Every is the longest time without an answer for a payment that has been in a status
// for age. It is 0 for a status that is final for every kind.
func Every(s order.Status, age time.Duration) time.Duration {
	for _, one := range cadence[s] {
		if age < one.until {
			return one.every
		}
	}
	return 0
}

// unpaidLookUps are the ages at which a payment that ended without money is looked up
// again, because the webhook that reports its payment may be lost.
var unpaidLookUps = []time.Duration{hour, day, 7 * day}

// maxUnpaidAge is the age from which on such a payment is not looked up again, also if
// no sweep ran at the last age of unpaidLookUps. It is shorter than the retention of
// STATUSES, so the last observation is still there.
const maxUnpaidAge = 14 * day

// unpaid are the statuses in which a payment has ended without money.
var unpaid = []order.Status{order.Canceled, order.Expired, order.Refused, order.Failed}

// UnpaidLookUp returns the ages at which the last look-up of a payment that ended
// without money was due and the next one is due, 0 where there is none.
func UnpaidLookUp(age time.Duration) (last, next time.Duration) {
	if age >= maxUnpaidAge {
		return 0, 0
	}
	for _, at := range unpaidLookUps {
		if age < at {
			return last, at
		}
		last = at
	}
	return last, 0
}

// moves reports whether a payment should leave a status soon.
func moves(s order.Status) bool {
	steps := cadence[s]
	return len(steps) > 0 && steps[0] == movingCadence[0]
}

// again is when a payment is judged again whose look-up is scheduled: after a fifth of the
// shortest interval of its status, so that no look-up is later than that.
func again(now time.Time, s order.Status) time.Time {
	if steps := cadence[s]; len(steps) > 0 {
		return now.Add(steps[0].every / 5)
	}
	return now.Add(unpaidLookUps[0] / 5)
}
