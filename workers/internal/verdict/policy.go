package verdict

import (
	"time"

	"arauto/schemas/provider"
	"arauto/schemas/record"
)

const (
	// longestRetryAfter bounds a provider's Retry-After. A guess: it respects the end
	// of an outage within the hour, and not a mistaken date of next year.
	longestRetryAfter = time.Hour
	// spread is the largest random share added to the wait after a 429: a provider that
	// throttles thousands of look-ups names the same time to all. A guess.
	spread = 0.1
)

// free returns the real time to wait after a failure that spends no attempt, and false
// for a failure that spends one. The wait of our own rate limiter or circuit breaker is
// real time already.
func free(p provider.RetryPolicy, f Failure, jitter float64) (time.Duration, bool) {
	switch f.Kind {
	case record.Throttled:
		wait := p.Throttled
		if f.RetryAfter > 0 {
			wait = min(f.RetryAfter, longestRetryAfter)
		}
		return p.Wait(wait + time.Duration(jitter*spread*float64(wait))), true
	case record.Credential, record.Stopped:
		if f.Deferred > 0 {
			return f.Deferred, true
		}
		return p.Wait(p.Credential), true
	case record.RateLimited:
		return f.Deferred, true
	case record.Transport, record.Unavailable, record.Unreadable, record.Refused, record.NotFound, record.Ours:
		return 0, false
	}
	return 0, false
}
