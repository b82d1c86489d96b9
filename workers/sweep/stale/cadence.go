package stale

import (
	"time"

	"arauto/schemas/order"
)

// step says how long a payment may be silent while it has been in its state
// for less than until.
type step struct{ until, every time.Duration }

const (
	hour = time.Hour
	day  = 24 * hour
	// always ends every list; the horizon is what really bounds a payment.
	always = 100 * 365 * day
)

// movingCadence are states that a payment should leave soon: somebody waits for the
// result.
var movingCadence = []step{{hour, 5 * time.Minute}, {day, hour}, {7 * day, 6 * hour}, {30 * day, day}, {always, 7 * day}}

// finalCadence are states in which a payment may end although it can still move: a
// refund or a chargeback is rare, and most payments stay there for ever.
var finalCadence = []step{{7 * day, day}, {90 * day, 7 * day}, {always, 28 * day}}

// disputedCadence is between the two: a dispute takes weeks, and its end matters.
var disputedCadence = []step{{7 * day, 6 * hour}, {30 * day, day}, {always, 7 * day}}

// cadence is the whole policy. No pause is as long as STATUSES keeps
// observations, so that a payment without one has surely been silent.
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

// Every is how long a payment may be silent that has been in a state for the
// given time, 0 when it is never asked for: the state is final for every kind.
func Every(s order.Status, age time.Duration) time.Duration {
	for _, one := range cadence[s] {
		if age < one.until {
			return one.every
		}
	}
	return 0
}

// unpaidLookUps are the ages at which a payment that ended without money is asked for
// again: its webhook may be lost, and it is paid all the same.
var unpaidLookUps = []time.Duration{hour, day, 7 * day}

// lastLook is the age after which such a payment is not asked for again, also
// where no sweep ran at its last look. STATUSES keeps observations for longer, so
// it is known whether the payment was asked for.
const lastLook = 14 * day

// unpaid are the states in which a payment has ended without money.
var unpaid = []order.Status{order.Canceled, order.Expired, order.Refused, order.Failed}

// UnpaidLookUp says for a payment that ended without money at which age its last look was
// due, and when its next one is: 0 where there is none.
func UnpaidLookUp(age time.Duration) (last, next time.Duration) {
	if age >= lastLook {
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

// pace is how often payments of a state are looked through. A fifth of the
// shortest pause keeps every pause within a fifth of what it should be, and
// spares the broker a walk over all paid payments each minute.
func pace(s order.Status) time.Duration {
	if steps := cadence[s]; len(steps) > 0 {
		return steps[0].every / 5
	}
	return unpaidLookUps[0] / 5
}
