// Package verdict decides what a failed look-up leads to: a retry at a time, or a dead
// letter. Judge is the one pure function from failure to decision.
package verdict

import (
	"errors"
	"time"

	"arauto/schemas/provider"
	"arauto/schemas/record"
)

// ErrTransport is wrapped by the errors of a look-up that got no HTTP response.
var ErrTransport = errors.New("no answer from the provider")

// The errors that providerhttp wraps around provider.ErrRefused if the provider may refuse
// the URL, which contains the payment's id. A 414 is certain. A 400 may also be about what
// all look-ups of the account share, such as a wrong base URL.
var (
	ErrURL        = errors.New("provider may refuse the URL")
	ErrURLTooLong = errors.New("provider refuses the URL: it is too long")
)

// DeferredError means that a rate limit or a circuit breaker defers the look-up. It
// says nothing of the payment, so it spends no attempt.
type DeferredError struct {
	Kind record.Failure // record.Credential, record.RateLimited or record.Stopped.
	Wait time.Duration  // The wait until the limit may allow the look-up, in real time.
}

func (e *DeferredError) Error() string { return "deferred: " + string(e.Kind) }

// FailureOf returns the kind of a look-up's error. An error of no kind is our own
// fault.
func FailureOf(err error) record.Failure {
	var deferred *DeferredError
	if errors.As(err, &deferred) {
		return deferred.Kind
	}
	for _, c := range []struct {
		is   error
		kind record.Failure
	}{
		{ErrTransport, record.Transport},
		{provider.ErrUnavailable, record.Unavailable},
		{provider.ErrUnreadable, record.Unreadable},
		{provider.ErrRefused, record.Refused},
		{provider.ErrThrottled, record.Throttled},
		{provider.ErrCredential, record.Credential},
		{provider.ErrNotFound, record.NotFound},
	} {
		if errors.Is(err, c.is) {
			return c.kind
		}
	}
	return record.Ours
}

// Failure is one failed look-up.
type Failure struct {
	Kind       record.Failure
	RetryAfter time.Duration // The provider's Retry-After, 0 for none.
	Deferred   time.Duration // The wait of our own rate limit or circuit breaker, in real time, 0 for none.
	At         time.Time
	Slowdown   float64 // Factor for the wait of a payment that the provider does not know, at least 1; 0 means 1.
	Final      bool    // A retry cannot help: the provider refuses every look-up of this payment.
}

// Attempts is what counts against a payment's retry policy so far.
type Attempts struct {
	Fired        bool      // The look-up was a scheduled one; only those spend an attempt.
	Attempts     int       // Attempts spent before this failure.
	FirstFailure time.Time // The first failure that spends an attempt, zero before it.
	NotFound     int       // Look-ups for which the provider did not know the payment.
	Expedited    bool      // The wait after the last of these was cut short, so this look-up is not counted in NotFound.
}

// Decision is what to do: schedule a retry at Due, or store a dead letter of Class.
// Attempts, FirstFailure and NotFound are the payment's counts afterwards.
type Decision struct {
	Retry        bool
	Due          time.Time
	Class        record.Class
	Attempts     int
	FirstFailure time.Time
	NotFound     int
	Free         bool // Due is none of the policy's offsets: waiting for it spends no attempt.
}

// Judge decides about a failure under a policy. Offsets count from the first failure that
// spends an attempt. That first look-up itself spends none, even if it was scheduled,
// because it was no retry. jitter, from 0 to 1, is the share of the policy's jitter, or of
// the spread after a 429, to add.
func Judge(f Failure, b Attempts, p provider.RetryPolicy, jitter float64) Decision {
	d := Decision{Attempts: b.Attempts, FirstFailure: b.FirstFailure, NotFound: b.NotFound}
	if f.Final {
		d.Class = record.ClassData
		return d
	}
	if f.Kind == record.NotFound {
		return retryUnknown(p, f, b, d)
	}
	if wait, free := free(p, f, jitter); free {
		d.Retry, d.Free, d.Due = true, true, f.At.Add(wait)
		return d
	}
	switch {
	case d.FirstFailure.IsZero():
		d.FirstFailure = f.At
	case b.Fired:
		d.Attempts++
	}
	if d.Attempts >= len(p.Offsets) {
		d.Class = ClassOf(f.Kind)
		return d
	}
	offset := p.Offsets[d.Attempts]
	offset += time.Duration(jitter * p.Jitter * float64(offset))
	d.Retry, d.Due = true, d.FirstFailure.Add(p.Wait(offset))
	// After long waits that spend no attempt, many offsets lie in the past. Their attempts
	// are made one after the other, and not all at once.
	if d.Due.Before(f.At) {
		d.Due = f.At.Add(p.Wait(min(minGap, p.Offsets[0])))
	}
	return d
}

// minGap is the wait for an attempt whose offset has passed. A guess: the first offset
// of the default policy.
const minGap = 5 * time.Second

// retryUnknown decides about a payment that the provider does not know: its read side
// may lag its webhooks. These look-ups have a count and waits of their own; one whose
// wait was cut short is not counted.
func retryUnknown(p provider.RetryPolicy, f Failure, b Attempts, d Decision) Decision {
	if !b.Expedited {
		d.NotFound++
	}
	if d.NotFound > len(p.NotFound) {
		d.Class = ClassOf(f.Kind)
		return d
	}
	d.Retry, d.Free, d.Due = true, true, f.At.Add(p.WaitNotFound(d.NotFound, f.Slowdown))
	return d
}

// ClassOf returns whose fault a failure is once its retries are used up.
func ClassOf(c record.Failure) record.Class {
	switch c {
	case record.Ours, record.RateLimited, record.Stopped:
		return record.ClassOurs
	case record.NotFound:
		return record.ClassData
	case record.Transport, record.Unavailable, record.Unreadable, record.Refused, record.Throttled, record.Credential:
		return record.ClassProvider
	}
	panic("verdict: failure " + string(c) + " has no class")
}
