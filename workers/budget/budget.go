// Package budget bounds how fast and how many at a time an account's look-ups
// run, so that a flood of webhooks never becomes a flood at the provider. It
// bounds one process: a fleet of n asks n times as fast.
package budget

import (
	"math"
	"sync"
	"time"
)

// Limit is how much an account may be asked for.
type Limit struct {
	Rate        int // Look-ups per second.
	Burst       int // Look-ups at once after a quiet time.
	Concurrency int // Look-ups in flight.
}

// patience is how much of the coming seconds' rate those who waited for their
// turn may use in advance. Turns are given out exactly as fast as tokens grow,
// and the broker fires them up to 300 ms late and in bunches; without it,
// every second one would miss its token by a hair and wait again.
const patience = time.Second

// Account is the budget of one account. It is a token bucket with a line
// before it: who finds no token gets a turn at the end of the line, and who
// comes without having waited goes only where nobody stands in it. So with N
// in front the next one's turn is N/Rate seconds away at most. In any time T
// at most Burst + Rate × (T + 1 s) look-ups begin. It is safe for concurrent use.
type Account struct {
	limit Limit
	now   func() time.Time

	mu      sync.Mutex
	tokens  float64 // Below zero, those who had a turn are ahead of it.
	counted time.Time
	line    time.Time // The next free turn; nobody stands in a line that lies behind.
	flying  int
}

// New returns a budget that is full.
func New(l Limit, now func() time.Time) *Account {
	return &Account{limit: l, now: now, tokens: float64(l.Burst), counted: now()}
}

// Fresh asks for leave for a look-up that has not waited. With ok it may begin
// and Done must follow. Else it has a turn after wait.
func (a *Account) Fresh() (wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.count()
	if a.flying < a.limit.Concurrency && a.tokens >= 1 && !a.line.After(now) {
		a.begin()
		return 0, true
	}
	return a.queue(now), false
}

// Turn is Fresh for a look-up whose turn has come.
func (a *Account) Turn() (wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.count()
	if a.flying < a.limit.Concurrency && a.tokens >= 1-patience.Seconds()*float64(a.limit.Rate) {
		a.begin()
		return 0, true
	}
	return a.queue(now), false
}

// Done says that a look-up which had leave has ended.
func (a *Account) Done() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flying--
}

func (a *Account) begin() {
	a.tokens--
	a.flying++
}

// count adds the tokens that have grown. A clock that was set back adds none.
func (a *Account) count() time.Time {
	now := a.now()
	if grown := now.Sub(a.counted).Seconds() * float64(a.limit.Rate); grown > 0 {
		a.tokens = math.Min(a.tokens+grown, float64(a.limit.Burst))
		a.counted = now
	}
	return now
}

// queue gives out the turn at the end of the line.
func (a *Account) queue(now time.Time) time.Duration {
	step := time.Second / time.Duration(a.limit.Rate)
	if first := now.Add(step); a.line.Before(first) {
		a.line = first
	}
	turn := a.line
	a.line = turn.Add(step)
	return turn.Sub(now)
}
