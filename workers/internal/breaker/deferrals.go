package breaker

import (
	"sync"
	"time"
)

// deferrals counts the look-ups that this worker has deferred and that are not due yet, by
// scope. A look-up that was deferred before a restart counts again from the time at which
// it is due and is deferred again. It is safe for concurrent use, and its zero value is
// empty.
type deferrals struct {
	mu     sync.Mutex
	scopes map[key]*scopeDeferrals
}

// scopeDeferrals are the deferrals of one scope.
type scopeDeferrals struct {
	waiting int           // All in due.
	due     map[int64]int // By the dueSlot at whose end they are due.
	first   int64         // Slots before it are over.
}

// dueSlot is how exactly due times are kept. A guess: 190 slots hold the longest wait.
const dueSlot = 10 * time.Second

func slotOf(at time.Time) int64 { return at.UnixNano() / int64(dueSlot) }

// at returns a scope's deferrals that are not due at a time. d.mu is held.
func (d *deferrals) at(k key, now time.Time) *scopeDeferrals {
	s := d.scopes[k]
	if s == nil {
		if d.scopes == nil {
			d.scopes = map[key]*scopeDeferrals{}
		}
		s = &scopeDeferrals{due: map[int64]int{}, first: slotOf(now)}
		d.scopes[k] = s
	}
	for ; s.first < slotOf(now); s.first++ {
		s.waiting -= s.due[s.first]
		delete(s.due, s.first)
	}
	return s
}

// count returns how many look-ups wait for a scope.
func (d *deferrals) count(k key, now time.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at(k, now).waiting
}

// add counts a look-up that is deferred for some time. A clock that was set back counts it
// longer.
func (d *deferrals) add(k key, now time.Time, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.at(k, now)
	s.waiting++
	s.due[max(slotOf(now.Add(wait)), s.first)]++
}
