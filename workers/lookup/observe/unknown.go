package observe

import (
	"errors"
	"sync"
	"time"

	"arauto/workers/chain"
	"arauto/workers/verdict"
)

// proof is how long an answer of an account proves that its base URL and
// credential are good: a guess, a few times as long as a look-up takes at most.
const proof = time.Minute

// answers remembers what the provider lately said of one account's payments. It
// is safe for concurrent use.
type answers struct {
	mu   sync.Mutex
	last time.Time // When the last one came.
}

// note takes note of an answer: a fact, or the provider's own word of an unknown
// payment.
func (a *answers) note(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = now
}

// since reports whether an answer came at that time or later.
func (a *answers) since(at time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.last.IsZero() && !a.last.Before(at)
}

// final reports whether asking about a payment again cannot help, because the
// provider refuses its URL. A 400 means that only where another payment of the
// account was answered lately, or since this one first failed, and this one never
// was: else the base URL may be wrong for all of them, or something before the
// provider may be broken, and what heals by itself must not end in letters.
func (w *Worker) final(t task, last chain.Link, cause error, now time.Time) bool {
	if errors.Is(cause, verdict.ErrURLTooLong) {
		return true
	}
	answers := w.answers[t.account]
	if !errors.Is(cause, verdict.ErrURL) || answers == nil || last.Observation.Confirmed {
		return false
	}
	from := now.Add(-proof)
	if t.fired != nil && t.fired.FirstFailure != nil && t.fired.FirstFailure.Before(from) {
		from = *t.fired.FirstFailure
	}
	return answers.since(from)
}
