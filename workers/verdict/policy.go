package verdict

import (
	"fmt"
	"slices"
	"time"
)

// Policy says when to ask again. Offsets count from the first failure and
// ascend.
type Policy struct {
	Offsets  []time.Duration // For everything that spends the budget.
	NotFound []time.Duration // Waits between looks for a payment that the provider does not know.
	Jitter   float64         // Added share of each offset, at most.

	throttled  time.Duration // Wait on 429 without a Retry-After.
	credential time.Duration // Wait on a refused credential.
	scale      int           // How many times as fast as a real clock it lives; 0 is once.
}

// Turned returns p on a clock that runs scale times as fast, so that a test
// sees three days pass in seconds. What p says stays as it is: only Wait
// divides, so that no duration can be forgotten or divided twice.
func (p Policy) Turned(scale int) Policy {
	p.scale = scale
	return p
}

// Wait returns how long d, a duration of p's own time, takes on a real clock.
// Whatever turns a duration of a look-up into a due time goes through here.
func (p Policy) Wait(d time.Duration) time.Duration { return d / time.Duration(max(p.scale, 1)) }

// WaitUnknown is the real time until the next look for a payment that the provider
// has called unknown so many times, at least once, when such payments of its
// account wait slowdown times as long; below 1 that is once.
func (p Policy) WaitUnknown(times int, slowdown float64) time.Duration {
	return p.Wait(time.Duration(float64(p.NotFound[times-1]) * max(slowdown, 1)))
}

const (
	hour = time.Hour
	// longestRetryAfter bounds what a provider may make us wait.
	longestRetryAfter = hour
	// spread is the share that is added, at most, to a wait on 429: a provider
	// that turns thousands away names the same moment to all of them. It is no
	// offset, so a policy that is exact spreads it too.
	spread = 0.1
)

// tail is how Yapay itself delivers: every 12 hours for 3 days.
var tail = []time.Duration{12 * hour, 24 * hour, 36 * hour, 48 * hour, 60 * hour, 72 * hour}

// head catches the short outages, for which 12 hours would be absurd.
var head = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, hour}

// unknown are the waits for a payment that the provider does not know. It is
// asked for 5 s, 30 s, 2 min, 10 min, 1 h and 6 h after the first look: what
// a provider answers is told to lag its own webhooks by minutes.
var unknown = []time.Duration{
	5 * time.Second, 25 * time.Second, 90 * time.Second, 8 * time.Minute, 50 * time.Minute, 5 * hour,
}

// Named returns the policy of that name: "default" has the fast head and the
// long tail, with jitter; "yapay" is the tail alone, exact.
func Named(name string) (Policy, error) {
	p := Policy{
		NotFound:  slices.Clone(unknown),
		throttled: 30 * time.Second, credential: time.Minute,
	}
	switch name {
	case "default":
		p.Offsets, p.Jitter = slices.Concat(head, tail), 0.1
	case "yapay":
		p.Offsets = slices.Clone(tail)
	default:
		return Policy{}, fmt.Errorf("no retry policy is called %q; there are default and yapay", name)
	}
	return p, nil
}

// WithOffsets returns p with another list for everything that spends the
// budget. The list must ascend and not be empty.
func (p Policy) WithOffsets(offsets []time.Duration) (Policy, error) {
	if len(offsets) == 0 || !slices.IsSorted(offsets) || offsets[0] <= 0 {
		return Policy{}, fmt.Errorf("retry delays must be positive and ascend")
	}
	p.Offsets, p.Jitter = slices.Clone(offsets), 0
	return p, nil
}

// free returns how long causes that spend nothing wait, on a real clock. What
// a gate of ours asks for is not turned, and was spread by that gate: a budget
// per second stays one.
func (p Policy) free(f Failure, jitter float64) (time.Duration, bool) {
	switch f.Cause {
	case Throttled:
		wait := p.throttled
		if f.RetryAfter > 0 {
			wait = min(f.RetryAfter, longestRetryAfter)
		}
		return p.Wait(wait + time.Duration(jitter*spread*float64(wait))), true
	case Credential, Circuit:
		if f.Held > 0 {
			return f.Held, true
		}
		return p.Wait(p.credential), true
	case OverBudget:
		return f.Held, true
	case Transport, Unavailable, Unreadable, Refused, NotFound, Ours:
		return 0, false
	}
	return 0, false
}
