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

// class says how soon a task may ask when its account's look-ups are too many.
// Whoever knows an account's path key can invent payments, but none that the
// provider has known. waiting is what was parked for the payment before.
func class(t task, last observations.Entry, waiting retry.Entry) ratelimit.Class {
	o := last.Observation
	switch {
	case o.Confirmed && (o.Status != "" || o.ProviderStatus != ""):
		return ratelimit.Known
	case waiting.Parked.NotFound > 0, t.fired != nil && t.fired.NotFound > 0:
		return ratelimit.Unknown
	case t.cause != order.CauseNotification: // Of a payment that has an event, or that an operator asks for.
		return ratelimit.Known
	}
	return ratelimit.Unasked
}

// Bounds of what an account's answers say, all of them guesses.
const (
	// halfLife is how long it takes until an answer counts half. Rechecks of a
	// flood of unknown payments span hours, its first half of them minutes.
	halfLife = 10 * time.Minute
	// enough is how many answers say anything about all: a merchant's few payments
	// may all be new to the provider.
	enough = 50
	// slowest is how many times as long an unknown payment waits at most: its letter
	// comes after a day then, and its third look still within ten minutes.
	slowest = 4
	// proof is how long an answer of an account proves that its base URL and
	// credential are good.
	proof = time.Minute
)

// answers is what the provider lately said of one account's payments. It is safe
// for concurrent use.
type answers struct {
	mu      sync.Mutex
	last    time.Time // When the last one came; the counts are as of then.
	known   float64
	unknown float64
}

// note counts an answer: a fact, or the provider's own word of an unknown payment.
func (a *answers) note(payment string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.last.IsZero() {
		left := math.Exp2(-max(now.Sub(a.last), 0).Seconds() / halfLife.Seconds())
		a.known, a.unknown = a.known*left, a.unknown*left
	}
	if a.last = now; payment == unknownPayment {
		a.unknown++
	} else {
		a.known++
	}
}

// since reports whether an answer came at that time or later.
func (a *answers) since(at time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.last.IsZero() && !a.last.Before(at)
}

// slowdown is how many times as long an unknown payment of the account waits for
// its next look.
func (a *answers) slowdown() float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slowdown(a.known, a.unknown)
}

// slowdown grows from 1, while no more than half of the answers are about unknown
// payments, to slowest, when all are.
func slowdown(known, unknown float64) float64 {
	if known+unknown < enough {
		return 1
	}
	above := unknown/(known+unknown) - 0.5
	return 1 + max(above, 0)/0.5*(slowest-1)
}

// countAnswer counts an answer about a payment of the account, known or unknown.
func (w *Worker) countAnswer(account, payment string) {
	if a := w.answers[account]; a != nil {
		a.note(payment, w.Now())
	}
	w.Metrics.countAnswer(w.Provider.Name, account, payment)
}

// slowdown is that of an account, 1 for one that nobody asks for.
func (w *Worker) slowdown(account string) float64 {
	if a := w.answers[account]; a != nil {
		return a.slowdown()
	}
	return 1
}

// final reports whether asking about a payment again cannot help, because the
// provider refuses its URL. A 400 means that only where another payment of the
// account was answered lately, or since this one first failed, and this one never
// was: else the base URL may be wrong for all of them, or something before the
// provider may be broken, and what heals by itself must not end in letters.
func (w *Worker) final(t task, last observations.Entry, cause error, now time.Time) bool {
	if errors.Is(cause, verdict.ErrURLTooLong) {
		return true
	}
	answers := w.answers[t.account]
	known := last.Observation.Confirmed || t.cause == order.CauseSweep // Which asks for payments that have an event.
	if !errors.Is(cause, verdict.ErrURL) || answers == nil || known {
		return false
	}
	from := now.Add(-proof)
	if t.fired != nil && t.fired.FirstFailure != nil && t.fired.FirstFailure.Before(from) {
		from = *t.fired.FirstFailure
	}
	return answers.since(from)
}
