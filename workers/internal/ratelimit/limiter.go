// Package ratelimit bounds how fast and how many at a time an account's payments are
// looked up, so that a flood of webhooks does not become a flood at the provider, and
// queues look-ups by class. All workers share an account's rate and burst by leases; the
// concurrency is each worker's own.
package ratelimit

import (
	"slices"
	"sync"
	"time"
)

// Limit is the rate limit of an account.
type Limit struct {
	Rate        int // Look-ups per second.
	Burst       int // Look-ups at once after an idle time.
	Concurrency int // Most look-ups in flight at a time.
}

// Class is a look-up's priority while there are too many. A lower value goes first.
type Class int

// The classes. An attacker who invents payments can cause look-ups of the last two
// only.
const (
	Known   Class = iota // The provider has known the payment.
	Unasked              // The payment was never looked up.
	Unknown              // The provider did not know the payment, or an internal service expects it and no webhook was received.
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

// Limiter is the rate limit of one account: a token bucket with a queue for each class. A
// look-up that finds no token is given the time at the end of its queue: N/Rate seconds
// from now if N look-ups of the same or a higher class are queued. In any time T at most
// Burst + Rate × (T + 1 s) look-ups begin, or one of each worker if they are more than
// Burst. It is safe for concurrent use.
type Limiter struct {
	now func() time.Time

	mu       sync.Mutex
	limit    Limit
	share    float64            // This worker's share of rate and burst.
	until    time.Time          // When the share ends; zero for never.
	tokens   float64            // Below zero while queued look-ups have borrowed.
	refilled time.Time          // When tokens was last refilled.
	ends     [classes]time.Time // The end of each class's queue; a queue whose end has passed is empty.
	began    [classes]time.Time // When the last look-up of the class began.
	inFlight int                // Look-ups in flight.
}

// New returns a limiter with a full bucket, for the only worker.
func New(l Limit, now func() time.Time) *Limiter {
	return &Limiter{limit: l, now: now, share: 1, tokens: float64(l.Burst), refilled: now()}
}

// divide sets this worker's share of rate and burst, and until when it holds. A worker that
// has had none begins in debt, as if all that it may borrow were used: another worker may
// have used it just before. With full it begins with a full bucket.
func (l *Limiter) divide(share float64, until time.Time, full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	began := l.share == 0 && share > 0
	l.share, l.until = share, until
	switch {
	case began && full:
		l.tokens = l.burst()
	case began:
		l.tokens = l.need() - 1 - starvedBorrow*l.rate()
	}
}

// need is how many tokens the bucket must have for a look-up: one, or all that a small
// share of the burst can hold.
func (l *Limiter) need() float64 { return min(1, l.burst()) }

// Ready reports whether this worker has a share now. Without one no look-up begins.
func (l *Limiter) Ready() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready(l.now())
}

// ready is Ready. l.mu is held.
func (l *Limiter) ready(now time.Time) bool {
	return l.share > 0 && (l.until.IsZero() || now.Before(l.until))
}

// rate is this worker's look-ups per second.
func (l *Limiter) rate() float64 { return float64(l.limit.Rate) * l.share }

// burst is this worker's look-ups at once.
func (l *Limiter) burst() float64 { return float64(l.limit.Burst) * l.share }

// Rate is how many look-ups a second all workers may make together.
func (l *Limiter) Rate() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit.Rate
}

// SetLimit replaces the limit. What is in flight, queued and borrowed stays.
func (l *Limiter) SetLimit(limit Limit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refill()
	l.limit = limit
	l.tokens = min(l.tokens, l.burst())
}

// Queued is how long a look-up of the lowest class would be queued at this worker now.
func (l *Limiter) Queued() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.queueEnd(classes-1).Sub(l.now()), 0)
}

// Allow reports whether a look-up that has not been queued may begin. With ok, Release
// must follow; else it is queued and may call AllowQueued after wait.
func (l *Limiter) Allow(c Class) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.refill()
	if l.affords(0, now) && l.inFlight < l.limit.Concurrency && !l.queueEnd(c).After(now) {
		l.begin(c, now)
		return 0, true
	}
	return l.enqueue(c, now), false
}

// affords reports whether the bucket has enough if the tokens of so many coming seconds may
// be used. l.mu is held.
func (l *Limiter) affords(borrowed float64, now time.Time) bool {
	return l.ready(now) && l.tokens >= l.need()-borrowed*l.rate()
}

// AllowQueued is Allow for a look-up that has already waited. It may borrow tokens of
// the coming second.
func (l *Limiter) AllowQueued(c Class) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.refill()
	limit, borrowed := l.concurrencyOf(c, now), borrow[c]
	if now.Sub(l.began[c]) >= starved*l.interval() {
		limit, borrowed = l.limit.Concurrency, starvedBorrow
	}
	if l.inFlight < limit && l.affords(borrowed, now) {
		l.begin(c, now)
		return 0, true
	}
	return l.enqueue(c, now), false
}

// Release ends a look-up that was allowed.
func (l *Limiter) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
}

// begin takes a token for a look-up.
func (l *Limiter) begin(c Class, now time.Time) {
	l.tokens--
	l.inFlight++
	l.began[c] = now
}

// concurrencyOf is how many look-ups may be in flight for another of a class to begin.
// While more of the class are queued, an eighth of the concurrency, rounded down, stays
// free for each higher class.
func (l *Limiter) concurrencyOf(c Class, now time.Time) int {
	if !l.ends[c].After(now) {
		return l.limit.Concurrency
	}
	return l.limit.Concurrency - int(c)*(l.limit.Concurrency/8)
}

// interval is the time between two queued look-ups.
func (l *Limiter) interval() time.Duration {
	if l.share == 0 {
		return time.Second
	}
	return time.Duration(float64(time.Second) / l.rate())
}

// queueEnd is the end of the longest queue among a class's own and those of higher
// classes.
func (l *Limiter) queueEnd(c Class) time.Time {
	return slices.MaxFunc(l.ends[:c+1], time.Time.Compare)
}

// refill adds the tokens since the last call and returns the time. A clock that was set
// back adds none, and neither does the time after the end of the share.
func (l *Limiter) refill() time.Time {
	now := l.now()
	at := now
	if !l.until.IsZero() && at.After(l.until) {
		at = l.until
	}
	if grown := at.Sub(l.refilled).Seconds() * l.rate(); grown >= 0 {
		l.tokens = min(l.tokens+grown, l.burst())
		l.refilled = now
	}
	return now
}

// enqueue gives out the time at the end of a class's queue.
func (l *Limiter) enqueue(c Class, now time.Time) time.Duration {
	at := now.Add(l.interval())
	if end := l.queueEnd(c); end.After(at) {
		at = end
	}
	l.ends[c] = at.Add(l.interval())
	return at.Sub(now)
}
