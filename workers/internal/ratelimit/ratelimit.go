// Package ratelimit bounds how fast and how many at a time an account's look-ups
// run, so that a flood of webhooks never becomes a flood at the provider, and
// says who goes first when there are too many. It bounds one process: a fleet of
// n asks n times as fast.
package ratelimit

import (
	"math"
	"slices"
	"sync"
	"time"
)

// Limit is how much an account may be asked for.
type Limit struct {
	Rate        int // Look-ups per second.
	Burst       int // Look-ups at once after a quiet time.
	Concurrency int // Look-ups in flight.
}

// Class says how soon a look-up goes when there are too many. A lower one goes
// first.
type Class int

// The classes. Strangers can make look-ups of the last two only.
const (
	Known   Class = iota // The provider has known the payment.
	Unasked              // The payment was never asked for.
	Unknown              // The provider did not know the payment.
	classes
)

// queueShare is how much of the coming seconds' rate those who waited for their
// turn may use in advance, in seconds by class. Turns are given out exactly as
// fast as tokens grow, and the broker fires them up to 300 ms late and in bunches;
// without it, every second one would miss its token by a hair and wait again. A
// higher class may use more: what it takes is missing to the lower ones. The least
// is above those 300 ms, or at a rate of a few a second a turn would be missed.
var queueShare = [classes]float64{Known: 0.9, Unasked: 0.65, Unknown: 0.4}

// A class of which nothing began for the time of so many turns may go before all
// others, and use a whole second's rate in advance. share is a guess that leaves
// most turns to the highest class, and ends every wait.
const (
	share    = 10
	overdraw = 1.0
)

// Limiter is the budget of one account. It is a token bucket with a line for
// each class before it: who finds no token gets a turn at the end of the line,
// and who comes without having waited goes only where nobody of the same or a
// higher class stands in one. So with N of these in front the next one's turn is
// N/Rate seconds away at most. In any time T at most Burst + Rate × (T + 1 s)
// look-ups begin. It is safe for concurrent use.
type Limiter struct {
	limit Limit
	now   func() time.Time

	mu      sync.Mutex
	tokens  float64 // Below zero, those who had a turn are ahead of it.
	counted time.Time
	lines   [classes]time.Time // The next free turn; nobody stands in a line that lies behind.
	began   [classes]time.Time // When the last look-up of the class did.
	flying  int
}

// New returns a budget that is full.
func New(l Limit, now func() time.Time) *Limiter {
	return &Limiter{limit: l, now: now, tokens: float64(l.Burst), counted: now()}
}

// Allow asks for leave for a look-up that has not waited. With ok it may begin
// and Done must follow. Else it has a turn after wait.
func (a *Limiter) Allow(c Class) (wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.count()
	if a.free(c, now) {
		a.begin(c, now)
		return 0, true
	}
	return a.queue(c, now), false
}

// Queue gives a turn to a look-up that has not waited and could not begin now.
// crowded is false, and nothing is taken, where it could.
func (a *Limiter) Queue(c Class) (wait time.Duration, crowded bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.count()
	if a.free(c, now) {
		return 0, false
	}
	return a.queue(c, now), true
}

// free reports whether a look-up that has not waited may begin; a.mu is held.
func (a *Limiter) free(c Class, now time.Time) bool {
	return a.flying < a.limit.Concurrency && a.tokens >= 1 && !a.line(c).After(now)
}

// AllowQueued is Fresh for a look-up whose turn has come.
func (a *Limiter) AllowQueued(c Class) (wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.count()
	places, ahead := a.places(c, now), queueShare[c]
	if now.Sub(a.began[c]) >= share*a.step() {
		places, ahead = a.limit.Concurrency, overdraw
	}
	if a.flying < places && a.tokens >= 1-ahead*float64(a.limit.Rate) {
		a.begin(c, now)
		return 0, true
	}
	return a.queue(c, now), false
}

// Release says that a look-up which had leave has ended.
func (a *Limiter) Release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flying--
}

func (a *Limiter) begin(c Class, now time.Time) {
	a.tokens--
	a.flying++
	a.began[c] = now
}

// places is how many look-ups may be in flight for one more of a class to begin.
// While more of the class wait, an eighth is kept for each higher class, because a
// slow provider makes places scarcer than tokens. Of fewer than eight, none is kept.
func (a *Limiter) places(c Class, now time.Time) int {
	if !a.lines[c].After(now) {
		return a.limit.Concurrency
	}
	return a.limit.Concurrency - int(c)*(a.limit.Concurrency/8)
}

// step is the time between two turns.
func (a *Limiter) step() time.Duration { return time.Second / time.Duration(a.limit.Rate) }

// line is the end of the line before a class: of its own and those of higher ones.
func (a *Limiter) line(c Class) time.Time {
	return slices.MaxFunc(a.lines[:c+1], time.Time.Compare)
}

// count adds the tokens that have grown. A clock that was set back adds none.
func (a *Limiter) count() time.Time {
	now := a.now()
	if grown := now.Sub(a.counted).Seconds() * float64(a.limit.Rate); grown > 0 {
		a.tokens = math.Min(a.tokens+grown, float64(a.limit.Burst))
		a.counted = now
	}
	return now
}

// queue gives out the turn at the end of the line.
func (a *Limiter) queue(c Class, now time.Time) time.Duration {
	turn := now.Add(a.step())
	if end := a.line(c); end.After(turn) {
		turn = end
	}
	a.lines[c] = turn.Add(a.step())
	return turn.Sub(now)
}
