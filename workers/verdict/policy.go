package verdict

import (
	"fmt"
	"slices"
	"time"
)

// Policy says when to ask again. Offsets and NotFound count from the first
// failure and ascend.
type Policy struct {
	Offsets  []time.Duration // For everything that spends the budget.
	NotFound []time.Duration // For payments that the provider does not know: a short recheck.
	Jitter   float64         // Added share of each offset, at most.

	throttled  time.Duration // Wait on 429 without a Retry-After.
	credential time.Duration // Wait on a refused credential.
}

const (
	hour = time.Hour
	// longestRetryAfter bounds what a provider may make us wait.
	longestRetryAfter = hour
)

// tail is how Yapay itself delivers: every 12 hours for 3 days.
var tail = []time.Duration{12 * hour, 24 * hour, 36 * hour, 48 * hour, 60 * hour, 72 * hour}

// head catches the short outages, for which 12 hours would be absurd.
var head = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, hour}

// Named returns the policy of that name: "default" has the fast head and the
// long tail, with jitter; "yapay" is the tail alone, exact.
func Named(name string) (Policy, error) {
	p := Policy{
		NotFound:  []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute},
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

// free returns the wait for causes that spend nothing.
func (p Policy) free(f Failure) (time.Duration, bool) {
	switch f.Cause {
	case Throttled:
		if f.RetryAfter > 0 {
			return min(f.RetryAfter, longestRetryAfter), true
		}
		return p.throttled, true
	case Credential:
		return p.credential, true
	case Transport, Unavailable, Unreadable, Refused, NotFound, Ours:
		return 0, false
	}
	return 0, false
}
