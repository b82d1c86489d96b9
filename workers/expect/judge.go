package expect

import (
	"slices"
	"time"

	"arauto/schemas/expectation"
	"arauto/schemas/order"
)

// Facts are what is stored about an expected payment.
type Facts struct {
	Order    string              // The expected one.
	Amount   *expectation.Amount // Nil where any sum will do.
	Deadline time.Time
	Since    time.Time // When it was announced.

	Events []Event      // The payment's log, ascending.
	Status order.Status // Of the last answer of the provider, "" for none, or for an unknown word.
	Asked  time.Time    // When that answer was asked for, zero for none.
	Known  bool         // A provider was asked: the answer is not what a webhook said.

	NotFound time.Time // When the provider was last asked and did not know the payment, zero for never since the last answer.
	Notified bool      // A notification was stored lately that no answer covers.
	Waits    bool      // A look-up of any other cause is scheduled, or one is being made.
	WaitsAt  time.Time // When the scheduled look-up of an expected payment is due, zero for none.

	Silent  *Silent                                  // The last change that no notification prompted, nil for none.
	Other   *expectation.Payment                     // Another paid payment of the order, nil for none.
	Said    map[expectation.Word]expectation.Outcome // What was published of this version.
	Closed  bool                                     // The expectation was removed: only what follows the published outcomes is judged.
	Now     time.Time
	Speedup int // How many times as fast as a real clock the cadence runs: 1 but in tests.
}

// Event is an order event and when it was stored, by the broker's clock.
type Event struct {
	order.Event
	Stored time.Time
}

// Silent is a change of state that no notification prompted.
type Silent struct {
	Stored    time.Time // When its event was stored.
	Announced bool      // A notification was stored that the state before does not cover.
}

// Verdict is what is to be done about an expectation.
type Verdict struct {
	Outcomes []expectation.Word // To be published, in this order.
	Reason   string             // Of never_paid.
	Settled  bool               // Nothing more is to be waited for.
	Ask      time.Time          // When the payment is to be looked up; zero for not, or as scheduled.
	Again    time.Time          // When to judge again, if no event is published before.
}

// held are the statuses in which a captured sum is with the merchant.
var held = []order.Status{order.Paid, order.Settled, order.PartiallyRefunded, order.Disputed}

// givenBack are the statuses in which a captured sum is not with the merchant any more.
var givenBack = []order.Status{order.Refunded, order.ChargedBack}

// unpaid are the statuses in which a payment ends without money.
var unpaid = []order.Status{order.Canceled, order.Expired, order.Refused, order.Failed}

// moneyWords are the outcomes of which a captured sum has at least one.
var moneyWords = []expectation.Word{expectation.Met, expectation.AmountMismatch, expectation.PaidLate, expectation.PaidTwice}

// Judge says what came of an expectation. It is a pure function: any two processes that
// read the same come to the same.
func Judge(f Facts) Verdict {
	var v Verdict
	capture := f.capture()
	switch {
	case capture != nil:
		v.Outcomes = f.paidWords(*capture)
	case !f.said(expectation.NeverPaid) && !f.paidBefore():
		v.Reason = f.neverPaid()
		if v.Reason != "" {
			v.Outcomes = []expectation.Word{expectation.NeverPaid}
		}
	}
	if f.Closed {
		v.Settled = true
		return v
	}
	decided := capture != nil || v.Reason != "" || f.said(expectation.NeverPaid) || f.paidBefore()
	waitsForWebhook := f.Silent != nil && !f.Silent.Announced && !f.said(expectation.Unannounced)
	if waitsForWebhook {
		until := f.Silent.Stored.Add(f.real(silence))
		if waitsForWebhook = f.Now.Before(until); !waitsForWebhook {
			v.Outcomes = append(v.Outcomes, expectation.Unannounced)
		}
		v.Again = until
	}
	switch {
	case decided && waitsForWebhook:
	case decided:
		v.Settled = true
	default:
		f.cadence(&v)
	}
	return v
}

func (f Facts) said(w expectation.Word) bool { _, ok := f.Said[w]; return ok }

// real is a wait on the machine's clock.
func (f Facts) real(d time.Duration) time.Duration { return d / time.Duration(max(f.Speedup, 1)) }

// capture is the first event that says that a sum was captured, nil for none. After a
// correction that takes the capture back there is none.
func (f Facts) capture() (first *Event) {
	for i, e := range f.Events {
		switch {
		case slices.Contains(held, e.Status), slices.Contains(givenBack, e.Status):
			if first == nil {
				first = &f.Events[i]
			}
		case e.Correction:
			first = nil
		}
	}
	return first
}

// paidBefore reports whether an outcome says that the payment was paid, and no event corrects
// that: sweep may have compacted a log that ends in canceled, so that it has no capture.
func (f Facts) paidBefore() bool {
	return slices.ContainsFunc(moneyWords, f.said) && !slices.ContainsFunc(f.Events, func(e Event) bool { return e.Correction })
}

// paidWords are the outcomes of a captured payment that were not published yet.
func (f Facts) paidWords(capture Event) (words []expectation.Word) {
	judged := slices.ContainsFunc(moneyWords, f.said)
	if !judged && f.mismatch() {
		words = append(words, expectation.AmountMismatch)
	}
	if !judged && f.late(capture) {
		words = append(words, expectation.PaidLate)
	}
	if f.Other != nil && slices.Contains(held, f.Events[len(f.Events)-1].Status) && !f.said(expectation.PaidTwice) {
		words = append(words, expectation.PaidTwice)
	}
	if !judged && len(words) == 0 {
		words = append(words, expectation.Met)
	}
	return words
}

// paid is the captured sum, nil where the provider gives none.
func (f Facts) paid() *expectation.Amount {
	if f.capture() == nil {
		return nil
	}
	a := f.Events[len(f.Events)-1].Amount
	if a == nil {
		return nil
	}
	return &expectation.Amount{Currency: a.Currency, Value: a.Value}
}

// mismatch reports whether another sum or currency than the expected one was captured.
func (f Facts) mismatch() bool {
	paid := f.paid()
	return f.Amount != nil && paid != nil && *paid != *f.Amount
}

// late reports whether the payment was captured after the deadline. Where the provider does
// not say when, the answer counts, unless it was asked right after the deadline: then the
// payment may have been paid before.
func (f Facts) late(capture Event) bool {
	if at := capture.OccurredAt; at != nil {
		return at.After(f.Deadline)
	}
	if f.said(expectation.NeverPaid) {
		return capture.ObservedAt.After(f.Deadline)
	}
	return capture.ObservedAt.After(f.Deadline.Add(f.real(silence)))
}

// neverPaid says why the payment will not be paid in time, "" while it may be. An answer
// that says that money is in, and is not an event yet, leaves it open.
func (f Facts) neverPaid() string {
	if slices.Contains(held, f.Status) || slices.Contains(givenBack, f.Status) {
		return ""
	}
	if n := len(f.Events); n > 0 && slices.Contains(unpaid, f.Events[n-1].Status) {
		return "the payment is " + string(f.Events[n-1].Status)
	}
	switch {
	case !f.NotFound.IsZero() && !f.NotFound.Before(f.Deadline) && f.NotFound.After(f.Asked):
		return "the provider did not know the payment after the deadline"
	case f.Known && f.Status != "" && !f.Asked.Before(f.Deadline):
		return "the payment was " + string(f.Status) + " after the deadline"
	}
	return ""
}

// The pauses before an expectation is judged again whose answer is due. Guesses.
const (
	soonest      = 2 * time.Second
	slowest      = 5 * time.Minute
	whileWaiting = 2 * time.Second // By the machine's clock, however fast the cadence runs.
)

// cadence sets when the payment is looked up and judged again. Whatever else waits for the
// payment is waited for.
func (f Facts) cadence(v *Verdict) {
	tried := f.Asked
	if f.NotFound.After(tried) {
		tried = f.NotFound
	}
	next, wait := f.Now, f.real(every(0))
	if !tried.IsZero() {
		wait = f.real(every(max(tried.Sub(f.Since), 0) * time.Duration(max(f.Speedup, 1))))
		next = tried.Add(wait)
	}
	if next.After(f.Deadline) && tried.Before(f.Deadline) {
		next = f.Deadline // One answer must be asked for after it.
	}
	if next.Before(f.Now) {
		next = f.Now
	}
	if free := !f.Waits && !f.Notified; free && (f.WaitsAt.IsZero() || next.Before(f.WaitsAt)) {
		v.Ask = next
	}
	again := next.Add(min(wait/5, f.real(slowest)))
	if waits := f.Waits || f.Notified || !f.WaitsAt.IsZero() && !next.After(f.Now); waits {
		again = f.Now.Add(max(again.Sub(f.Now), whileWaiting)) // Many may wait, for the same provider.
	}
	if !f.Now.Before(f.Deadline) || !next.Before(f.Deadline) { // The answer decides.
		from := next
		if f.Now.After(from) {
			from = f.Now
		}
		again = from.Add(f.real(min(max(f.Now.Sub(f.Deadline)/4, soonest), slowest)))
	}
	if v.Again.IsZero() || again.Before(v.Again) || !v.Again.After(f.Now) {
		v.Again = again
	}
}
