package lookup

import (
	"errors"
	"math"
	"sync"
	"time"

	"arauto/schemas/order"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
	"arauto/workers/internal/verdict"
)

// classOf returns the priority of a task while its account's look-ups are too many. An
// attacker who knows a path key can invent payments, but none that the provider has
// known. before is what was scheduled for the payment.
func classOf(t task, last observations.Entry, before retry.Entry) ratelimit.Class {
	o := last.Observation
	switch {
	case t.Cause == order.CauseExpectation && t.Covers <= last.Covers(): // Every webhook goes first.
		return ratelimit.Unknown
	case o.Confirmed && (o.Status != "" || o.ProviderStatus != ""):
		return ratelimit.Known
	case before.Parked.NotFound > 0, t.NotFound > 0:
		return ratelimit.Unknown
	case t.Cause != order.CauseNotification: // The payment has an event, or an operator wants the look-up.
		return ratelimit.Known
	}
	return ratelimit.Unasked
}

// Limits of what an account's answers say, all guesses.
const (
	// halfLife is how long an answer takes to count half. Look-ups of a flood of
	// unknown payments go on for hours, half of them within minutes.
	halfLife = 10 * time.Minute
	// minAnswers is how many answers are needed before their share of unknown payments
	// counts: a merchant's few payments may all be unknown for a moment.
	minAnswers = 50
	// maxSlowdown is the largest factor for the waits of an unknown payment. Its dead
	// letter then comes after a day, and its third look-up within ten minutes.
	maxSlowdown = 4
	// proofWindow is how long an answer to an account proves that its base URL and
	// credential are right.
	proofWindow = time.Minute
)

// answers counts the provider's recent answers about known and unknown payments of one
// account. The counts decay. It is safe for concurrent use.
type answers struct {
	mu      sync.Mutex
	last    time.Time // When the last answer was counted; the decayed counts are as of then.
	known   float64
	unknown float64
}

// note counts the result of a look-up that is an answer about a known or an unknown payment.
func (a *answers) note(result error, now time.Time) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.last.IsZero() {
		left := math.Exp2(-max(now.Sub(a.last), 0).Seconds() / halfLife.Seconds())
		a.known, a.unknown = a.known*left, a.unknown*left
	}
	if a.last = now; answered(result) {
		a.known++
	} else {
		a.unknown++
	}
}

// since reports whether an answer was received at or after a time.
func (a *answers) since(at time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.last.IsZero() && !a.last.Before(at)
}

// slowdown is the current factor for the waits of the account's unknown payments. It grows
// from 1, while at most half of the answers are about them, to maxSlowdown, when all are. It
// is 1 for an account without look-up settings.
func (a *answers) slowdown() float64 {
	if a == nil {
		return 1
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known+a.unknown < minAnswers {
		return 1
	}
	above := a.unknown/(a.known+a.unknown) - 0.5
	return 1 + max(above, 0)/0.5*(maxSlowdown-1)
}

// final reports whether a retry cannot help, because the provider refuses the payment's
// URL. A 400 may be due to a wrong base URL: it counts only if this payment was never answered
// and another one was, within proofWindow or since this one first failed.
func (w *Worker) final(t task, last observations.Entry, cause error, now time.Time) bool {
	if errors.Is(cause, verdict.ErrURLTooLong) {
		return true
	}
	answers := w.setup().answers[t.Account]
	known := last.Observation.Confirmed || t.Cause == order.CauseSweep // Sweep looks up payments that have an event.
	if !errors.Is(cause, verdict.ErrURL) || answers == nil || known {
		return false
	}
	from := now.Add(-proofWindow)
	if t.FirstFailure != nil && t.FirstFailure.Before(from) {
		from = *t.FirstFailure
	}
	return answers.since(from)
}
