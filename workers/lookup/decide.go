package lookup

import (
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/observations"
)

// decision is what to do about a task.
type decision string

// The decisions. The first three are outcomes too.
const (
	superseded decision = outcomeSuperseded
	redundant  decision = outcomeRedundant
	forgotten  decision = outcomeForgotten
	join       decision = "join"      // The scheduled look-up is to cover the notification too.
	ask        decision = "ask"       // The provider is asked.
	askAgain   decision = "ask again" // The provider is asked as for a recheck, although an answer covers the task.
)

// decide returns what to do about a task, from what is stored about its payment. A fresh
// notification joins a scheduled look-up if the provider has just called the payment unknown,
// or if the payment is queued for the rate limit, but not in the last class, that of expected
// payments. TestDecide has a row for each rule.
func decide(t task, s stored, now time.Time) decision {
	waits := s.scheduled.Parked
	joins := waits.Cause != order.CauseExpectation && (waits.Reason == string(record.NotFound) || waits.Reason == string(record.RateLimited))
	switch {
	case s.last.Refuses(t.saidAt(now)):
		return forgotten
	case t.superseded(s.last) && (s.older || t.mayHaveLostSuccessor(s.last)):
		return askAgain
	case t.superseded(s.last):
		return superseded
	case t.conflict && t.redundant(s.last):
		return redundant
	case t.fresh && joins && waits.DueAt.After(now):
		return join
	}
	return ask
}

// saidAt is when the provider said what the task is made for, now if it said nothing. A
// look-up that was scheduled before its payment was erased is dropped however late it is due.
func (t task) saidAt(now time.Time) time.Time {
	switch {
	case t.fresh:
		return t.storedAt
	case t.NotifiedAt != nil:
		return *t.NotifiedAt
	}
	return now
}

// superseded reports whether an answer covers the task's notification already.
// Rechecks, confirmations, the look-ups of sweep and operators, and those for a
// notification of another incarnation of NOTIFICATIONS are made in any case.
func (t task) superseded(last observations.Entry) bool {
	return t.Cause == order.CauseNotification && t.Covers > 0 && t.Covers <= last.Covers()
}

// mayHaveLostSuccessor reports whether an answer that covers a due look-up was stored
// after its due time. Then the look-up is made again, because the recheck of that
// answer may be lost:
//  1. The answer's recheck replaces the due schedule on the payment's subject.
//  2. The broker stores the due look-up and purges that subject, the recheck included
//     (nats-server 2.15.3, server/stream.go, processJetStreamMsgWithRollup;
//     measured with 30,000 due at once: 676 of 952 replaced ones were lost).
//
// Before this may go, check that the broker purges only the schedule that it has fired.
func (t task) mayHaveLostSuccessor(last observations.Entry) bool {
	if t.fresh || last.Observation.Notification == t.Notification {
		return false // For example its own answer: the ack was lost.
	}
	return last.Stored.After(t.DueAt)
}

// redundant reports whether the answer of another look-up suffices for a look-up of sweep,
// an operator or an expected payment. If t replaced a scheduled look-up, it covers a notification too, which
// must be answered first.
func (t task) redundant(last observations.Entry) bool {
	return t.optional() && t.Covers <= last.Covers()
}

// optional reports whether no notification prompted the look-up, and nothing that is stored
// about the payment needs it.
func (t task) optional() bool {
	return t.Cause == order.CauseSweep || t.Cause == order.CauseOperator || t.Cause == order.CauseExpectation
}

// makeRecheck turns a covered task into a recheck, which is made in any case. After an older
// answer it begins a series; else it is the last of one.
func (t *task) makeRecheck(s stored) {
	made := len(rechecks)
	if s.older {
		made = 0
	}
	t.ScheduledLookUp, t.fresh = t.asRecheck(made), false
}

// asRecheck returns the task's look-up as a recheck after so many others, without spent
// attempts: those were spent for a notification that is answered.
func (t task) asRecheck(made int) record.ScheduledLookUp {
	p := t.ScheduledLookUp
	p.Cause, p.Rechecks = order.CauseRecheck, made
	p.Attempts, p.NotFound, p.FirstFailure, p.Expedited = 0, 0, nil, false
	return p
}

// rechecks are the waits between an answer that may be stale and the next look-up: 2 s
// and 15 s after the first such answer. Guesses about how far a provider's read side
// lags.
var rechecks = [record.MaxRechecks]time.Duration{2 * time.Second, 13 * time.Second}

// recheck returns the wait and the number of the recheck that an answer needs, because
// a provider's read side may lag its own webhook: the answer is not final, and says
// nothing new, is pending, or is behind an earlier one by status or refunded sum.
// Optional look-ups have none, unless they cover an unanswered notification.
func recheck(t task, before, seen order.Observation) (wait time.Duration, number int, ok bool) {
	if t.optional() && t.Covers <= before.Covers || t.Rechecks >= len(rechecks) || seen.Status == "" || seen.Kind.Final(seen.Status) {
		return 0, 0, false
	}
	behind := before.Status != "" && seen.Kind.Reachable(seen.Status, before.Status) ||
		seen.Status == before.Status && before.Amount != nil && seen.Amount != nil && seen.Amount.Refunded < before.Amount.Refunded
	if seen.Status != order.Pending && !seen.SameWord(before) && !behind {
		return 0, 0, false
	}
	return rechecks[t.Rechecks], t.Rechecks + 1, true
}
