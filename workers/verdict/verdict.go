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

// Cause is the class of a failure. It is a metric label and a word in parked
// look-ups and dead letters.
type Cause string

// The causes.
const (
	Transport   Cause = "transport"   // No answer: connection, TLS, timeout.
	Unavailable Cause = "unavailable" // 5xx and the like.
	Unreadable  Cause = "unreadable"  // An answer that cannot be used.
	Refused     Cause = "refused"     // Another 4xx.
	Throttled   Cause = "throttled"   // 429.
	Credential  Cause = "credential"  // 401, 403.
	NotFound    Cause = "not_found"   // The provider does not know the payment.
	Ours        Cause = "ours"        // We could not even ask: no such account, a bad URL.
	OverBudget  Cause = "budget"      // Not asked: the account's look-ups are as fast as they may be.
	Circuit     Cause = "circuit"     // Not asked: an operator has stopped the account's look-ups.
)

// Causes lists every cause, in the order of their declaration.
func Causes() []Cause {
	return []Cause{Transport, Unavailable, Unreadable, Refused, Throttled, Credential, NotFound, Ours, OverBudget, Circuit}
}

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
	Cause Cause         // Credential, OverBudget or Circuit.
	Wait  time.Duration // Until the gate may be open, by a real clock.
}

func (e *HeldError) Error() string { return "held back: " + string(e.Cause) }

// CauseOf is the cause of an error from asking. What nobody has classified is
// our own fault.
func CauseOf(err error) Cause {
	var held *HeldError
	if errors.As(err, &held) {
		return held.Cause
	}
	for _, c := range []struct {
		is    error
		cause Cause
	}{
		{ErrTransport, Transport},
		{provider.ErrUnavailable, Unavailable},
		{provider.ErrUnreadable, Unreadable},
		{provider.ErrRefused, Refused},
		{provider.ErrThrottled, Throttled},
		{provider.ErrCredential, Credential},
		{provider.ErrNotFound, NotFound},
	} {
		if errors.Is(err, c.is) {
			return c.cause
		}
	}
	return Ours
}

// Failure is one failed look-up.
type Failure struct {
	Cause      Cause
	RetryAfter time.Duration // What the provider asked for, 0 for nothing.
	Held       time.Duration // What a gate of ours asks for, by a real clock, 0 for nothing.
	At         time.Time
	Slowdown   float64 // How many times as long a payment that the provider does not know waits; at least 1, 0 is 1.
	Final      bool    // Asking again cannot help: the provider refuses to be asked about this payment.
}

// Budget is what a payment has spent so far.
type Budget struct {
	Fired        bool      // The look-up was a parked one; only those spend an attempt.
	Attempts     int       // Spent before this failure.
	FirstFailure time.Time // The first that spends; zero before it.
	NotFound     int       // Times that the provider did not know the payment.
	Hastened     bool      // The wait after the last of these was cut short; this time is not counted.
}

// Decision is what to do: park until Due, or give up with Class. Attempts and
// FirstFailure are the budget afterwards; FirstFailure is zero while every
// failure was free.
type Decision struct {
	Park         bool
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
func Judge(f Failure, b Budget, p Policy, jitter float64) Decision {
	d := Decision{Attempts: b.Attempts, FirstFailure: b.FirstFailure, NotFound: b.NotFound}
	if f.Final {
		d.Class = record.ClassData
		return d
	}
	if f.Cause == NotFound {
		return p.recheckUnknown(f, b, d)
	}
	if wait, free := p.free(f, jitter); free {
		d.Park, d.Free, d.Due = true, true, f.At.Add(wait)
		return d
	}
	switch {
	case d.FirstFailure.IsZero():
		d.FirstFailure = f.At
	case b.Fired:
		d.Attempts++
	}
	if d.Attempts >= len(p.Offsets) {
		d.Class = ClassOf(f.Cause)
		return d
	}
	offset := p.Offsets[d.Attempts]
	offset += time.Duration(jitter * p.Jitter * float64(offset))
	d.Park, d.Due = true, d.FirstFailure.Add(p.Wait(offset))
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
func (p Policy) recheckUnknown(f Failure, b Budget, d Decision) Decision {
	if !b.Hastened {
		d.NotFound++
	}
	if d.NotFound > len(p.NotFound) {
		d.Class = ClassOf(f.Cause)
		return d
	}
	d.Park, d.Free, d.Due = true, true, f.At.Add(p.WaitUnknown(d.NotFound, f.Slowdown))
	return d
}

// ClassOf says whose fault it is when the budget of a cause is spent.
func ClassOf(c Cause) record.Class {
	switch c {
	case Ours, OverBudget, Circuit:
		return record.ClassOurs
	case NotFound:
		return record.ClassData
	case Transport, Unavailable, Unreadable, Refused, Throttled, Credential:
		return record.ClassProvider
	}
	panic("verdict: cause " + string(c) + " has no class")
}
