package provider

import (
	"fmt"
	"slices"
	"time"
)

// RetryPolicy is the retry schedule: when a failed look-up is repeated. Every duration
// in it is of the policy's own clock; Wait converts it to real time.
type RetryPolicy struct {
	// Offsets are the attempts for failures that spend one, counted from the
	// first such failure, ascending.
	Offsets []time.Duration
	// NotFound are the waits between look-ups of a payment that the provider
	// does not know.
	NotFound   []time.Duration
	Jitter     float64       // Random share, from 0 to 1, that is added to an offset at the most.
	Throttled  time.Duration // Wait after a 429 without Retry-After.
	Credential time.Duration // Wait after a refused credential.

	scale int // How many times faster than real time the policy's clock runs; 0 is 1.
}

// DefaultRetryPolicy is the name of the policy that every provider has unless it is
// configured otherwise.
const DefaultRetryPolicy = "default"

// offsets are a fast head, for outages of minutes, and then every 12 hours for 3
// days, as Yapay delivers its notifications (package yapay has the source).
var offsets = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour,
	12 * time.Hour, 24 * time.Hour, 36 * time.Hour, 48 * time.Hour, 60 * time.Hour, 72 * time.Hour,
}

// unknown is chosen so that a payment is asked for 5 s, 30 s, 2 min, 10 min, 1 h
// and 6 h after the first look-up: a provider's read side may lag its own webhooks
// by minutes.
var unknown = []time.Duration{
	5 * time.Second, 25 * time.Second, 90 * time.Second, 8 * time.Minute, 50 * time.Minute, 5 * time.Hour,
}

// RetryPolicies lists the names that RetryPolicy accepts: the default, and each
// provider that has offsets of its own.
func (s Set) RetryPolicies() []string {
	names := []string{DefaultRetryPolicy}
	for _, p := range s {
		if len(p.RetryOffsets) > 0 {
			names = append(names, p.Name)
		}
	}
	return names
}

// RetryPolicy returns the policy of that name, an error that names the known ones
// if there is none.
func (s Set) RetryPolicy(name string) (RetryPolicy, error) {
	r := RetryPolicy{NotFound: slices.Clone(unknown), Throttled: 30 * time.Second, Credential: time.Minute}
	if name == DefaultRetryPolicy {
		r.Offsets, r.Jitter = slices.Clone(offsets), 0.1
		return r, nil
	}
	if p, ok := s.Get(name); ok && len(p.RetryOffsets) > 0 {
		r.Offsets = slices.Clone(p.RetryOffsets)
		return r, nil
	}
	return RetryPolicy{}, fmt.Errorf("no retry policy is called %q; known: %q", name, s.RetryPolicies())
}

// WithOffsets returns p with other offsets and without jitter. They must be
// positive and ascend, and there must be one.
func (p RetryPolicy) WithOffsets(offsets []time.Duration) (RetryPolicy, error) {
	if len(offsets) == 0 || !slices.IsSorted(offsets) || offsets[0] <= 0 {
		return RetryPolicy{}, fmt.Errorf("retry delays must be positive and ascend")
	}
	p.Offsets, p.Jitter = slices.Clone(offsets), 0
	return p, nil
}

// Scaled returns p on a clock that runs scale times faster than real time, so that
// a test sees three days pass in seconds. Only Wait divides by it.
func (p RetryPolicy) Scaled(scale int) RetryPolicy {
	p.scale = scale
	return p
}

// Wait is the real time that d, a duration of the policy's clock, takes.
func (p RetryPolicy) Wait(d time.Duration) time.Duration { return d / time.Duration(max(p.scale, 1)) }

// WaitNotFound is the real time until the next look-up of a payment that the
// provider did not know times times, at least 1. slowdown, at least 1, multiplies
// it.
func (p RetryPolicy) WaitNotFound(times int, slowdown float64) time.Duration {
	return p.Wait(time.Duration(float64(p.NotFound[times-1]) * max(slowdown, 1)))
}
