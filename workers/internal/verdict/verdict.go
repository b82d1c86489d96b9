// Package verdict decides what a failed look-up leads to. Judge is the one
// pure function from failure to decision; the causes, budgets and delays of
// every provider meet here and nowhere else.
package verdict

import (
	"errors"
	"time"

	"arauto/schemas/provider"
	"arauto/schemas/record"
)

// ErrTransport is wrapped by errors of a question that got no answer.
var ErrTransport = errors.New("no answer from the provider")

// What asking adds to provider.ErrRefused where the provider may refuse the URL of
// the question, and so the payment's id. A 414 leaves no doubt. A 400 may also be
// about what all questions of the account share, such as a wrong base URL.
var (
	ErrURL        = errors.New("provider may refuse the URL")
	ErrURLTooLong = errors.New("provider refuses the URL: it is too long")
)

// HeldError says that a gate of ours holds the payment back, because of what
// others learned or used up. That is no failure of the payment, so it never
// spends budget.
type HeldError struct {
	Kind record.Failure // record.Credential, record.RateLimited or record.Stopped.
	Wait time.Duration  // Until the gate may be open, by a real clock.
}

func (e *HeldError) Error() string { return "held back: " + string(e.Kind) }

// FailureOf is the kind of an error from a look-up. An error that has no class is
// our own fault.
func FailureOf(err error) record.Failure {
	var held *HeldError
	if errors.As(err, &held) {
		return held.Kind
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
	RetryAfter time.Duration // What the provider asked for, 0 for nothing.
	Held       time.Duration // What a gate of ours asks for, by a real clock, 0 for nothing.
	At         time.Time
	Slowdown   float64 // How many times as long a payment that the provider does not know waits; at least 1, 0 is 1.
	Final      bool    // Asking again cannot help: the provider refuses to be asked about this payment.
}

// Attempts is what a payment has spent so far.
type Attempts struct {
	Fired        bool      // The look-up was a parked one; only those spend an attempt.
	Attempts     int       // Spent before this failure.
	FirstFailure time.Time // The first that spends; zero before it.
	NotFound     int       // Times that the provider did not know the payment.
	Expedited    bool      // The wait after the last of these was cut short; this time is not counted.
}

// Decision is what to do: park until Due, or give up with Class. Attempts and
// FirstFailure are the budget afterwards; FirstFailure is zero while every
// failure was free.
type Decision struct {
	Retry        bool
	Due          time.Time
	Class        record.Class
	Attempts     int
	FirstFailure time.Time
	NotFound     int
	Free         bool // Due is not one of the policy's offsets, and waiting for it spends no attempt.
}

// Judge decides about a failure under a policy. All offsets count from the
// first failure that spends: waiting for a credential or a slower pace starts
// no clock, or the first blip after it would find every offset in the past.
// The look-up that meets the first failure spends no attempt, even where it
// had been parked, as rechecks are: it was no retry. The jitter, from 0 to 1,
// says how much of the policy's jitter, and of the spread of a wait on 429, to
// add.
func Judge(f Failure, b Attempts, p provider.RetryPolicy, jitter float64) Decision {
	d := Decision{Attempts: b.Attempts, FirstFailure: b.FirstFailure, NotFound: b.NotFound}
	if f.Final {
		d.Class = record.ClassData
		return d
	}
	if f.Kind == record.NotFound {
		return recheckUnknown(p, f, b, d)
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
	// After long free waits many offsets lie in the past. They are not made up
	// for in one go.
	if d.Due.Before(f.At) {
		d.Due = f.At.Add(p.Wait(min(minGap, p.Offsets[0])))
	}
	return d
}

// minGap is the wait for an attempt whose time has passed.
const minGap = 5 * time.Second

// recheckUnknown decides about a payment that the provider does not know. Its
// webhook may run ahead of its read side, so it is asked for again, first
// shortly; those looks have a count of their own and spend nothing else. One
// whose wait was cut short, because somebody wished so, is not counted.
func recheckUnknown(p provider.RetryPolicy, f Failure, b Attempts, d Decision) Decision {
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

// ClassOf says whose fault it is when the budget of a cause is spent.
func ClassOf(c record.Failure) record.Class {
	switch c {
	case record.Ours, record.RateLimited, record.Stopped:
		return record.ClassOurs
	case record.NotFound:
		return record.ClassData
	case record.Transport, record.Unavailable, record.Unreadable, record.Refused, record.Throttled, record.Credential:
		return record.ClassProvider
	}
	panic("verdict: cause " + string(c) + " has no class")
}
