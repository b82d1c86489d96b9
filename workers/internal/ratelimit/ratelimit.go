// Package ratelimit bounds how fast and how many at a time an account's payments are
// looked up, so that a flood of webhooks does not become a flood at the provider, and
// queues look-ups by class. It bounds one process: n processes look up n times as fast.
package ratelimit

import (
	"math"
	"slices"
	"sync"
	"time"
)

// Limit is the rate limit of an account.
type Limit struct {
	Rate        int // Look-ups per second.
	Burst       int // Look-ups at once after an idle time.
	Concurrency int // Look-ups in flight.
}

// Class is a look-up's priority while there are too many. A lower value goes first.
type Class int

// The classes. An attacker who invents payments can cause look-ups of the last two
// only.
const (
	Known   Class = iota // The provider has known the payment.
	Unasked              // The payment was never looked up.
	Unknown              // The provider did not know the payment.
	classes
)

// borrow is how much of the coming seconds' tokens a queued look-up may use in advance,
// in seconds by class. The broker delivers it up to 300 ms after its time (measured),
// and would else find its token missing. A higher class borrows more, which lower ones
// then lack.
var borrow = [classes]float64{Known: 0.9, Unasked: 0.65, Unknown: 0.4}

// A class of which no look-up began for the time of starved turns may go before all
// others, and borrow a whole second's tokens. Guesses: most turns stay with the highest
// class, and every wait ends.
const (
	starved       = 10
	starvedBorrow = 1.0
)

// Limiter is the rate limit of one account: a token bucket with a queue for each class.
// A look-up that finds no token is given a time at the end of the queue, N/Rate seconds
// away behind N others of its or a higher class. In any time T at most Burst + Rate ×
// (T + 1 s) look-ups begin. It is safe for concurrent use.
type Limiter struct {
	limit Limit
	now   func() time.Time

	mu       sync.Mutex
	tokens   float64            // Below zero while queued look-ups have borrowed.
	refilled time.Time          // When tokens was last refilled.
	ends     [classes]time.Time // The end of each class's queue; it is empty if that has passed.
	began    [classes]time.Time // When the last look-up of the class began.
	inFlight int                // Look-ups in flight.
}

// New returns a limiter with a full bucket.
func New(l Limit, now func() time.Time) *Limiter {
	return &Limiter{limit: l, now: now, tokens: float64(l.Burst), refilled: now()}
}

// Allow reports whether a look-up that has not been queued may begin. With ok, Release
// must follow; else it is queued and may call AllowQueued after wait.
func (a *Limiter) Allow(c Class) (wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.refill()
	if a.mayBegin(c, now) {
		a.begin(c, now)
		return 0, true
	}
	return a.enqueue(c, now), false
}

// Queue queues a look-up that cannot begin now, to call AllowQueued after wait. If it
// could begin, queued is false and nothing changes.
func (a *Limiter) Queue(c Class) (wait time.Duration, queued bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.refill()
	if a.mayBegin(c, now) {
		return 0, false
	}
	return a.enqueue(c, now), true
}

// mayBegin reports whether a look-up that has not been queued may begin. a.mu is held.
func (a *Limiter) mayBegin(c Class, now time.Time) bool {
	return a.inFlight < a.limit.Concurrency && a.tokens >= 1 && !a.queueEnd(c).After(now)
}

// AllowQueued is Allow for a look-up that has already waited. It may borrow tokens of
// the coming second.
func (a *Limiter) AllowQueued(c Class) (wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.refill()
	limit, borrowed := a.concurrencyOf(c, now), borrow[c]
	if now.Sub(a.began[c]) >= starved*a.interval() {
		limit, borrowed = a.limit.Concurrency, starvedBorrow
	}
	if a.inFlight < limit && a.tokens >= 1-borrowed*float64(a.limit.Rate) {
		a.begin(c, now)
		return 0, true
	}
	return a.enqueue(c, now), false
}

// Release ends a look-up that was allowed.
func (a *Limiter) Release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inFlight--
}

// begin takes a token for a look-up.
func (a *Limiter) begin(c Class, now time.Time) {
	a.tokens--
	a.inFlight++
	a.began[c] = now
}

// concurrencyOf is how many look-ups may be in flight for another of a class to begin.
// While more of the class are queued, an eighth of the concurrency, rounded down, stays
// free for each higher class.
func (a *Limiter) concurrencyOf(c Class, now time.Time) int {
	if !a.ends[c].After(now) {
		return a.limit.Concurrency
	}
	return a.limit.Concurrency - int(c)*(a.limit.Concurrency/8)
}

// interval is the time between two queued look-ups.
func (a *Limiter) interval() time.Duration { return time.Second / time.Duration(a.limit.Rate) }

// queueEnd is the end of the longest queue among a class's own and those of higher
// classes.
func (a *Limiter) queueEnd(c Class) time.Time {
	return slices.MaxFunc(a.ends[:c+1], time.Time.Compare)
}

// refill adds the tokens since the last call and returns the time. A clock that was set
// back adds none.
func (a *Limiter) refill() time.Time {
	now := a.now()
	if grown := now.Sub(a.refilled).Seconds() * float64(a.limit.Rate); grown > 0 {
		a.tokens = math.Min(a.tokens+grown, float64(a.limit.Burst))
		a.refilled = now
	}
	return now
}

// enqueue gives out the time at the end of a class's queue.
func (a *Limiter) enqueue(c Class, now time.Time) time.Duration {
	at := now.Add(a.interval())
	if end := a.queueEnd(c); end.After(at) {
		at = end
	}
	a.ends[c] = at.Add(a.interval())
	return at.Sub(now)
}
