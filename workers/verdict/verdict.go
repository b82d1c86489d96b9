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
)

// Causes lists every cause, in the order of their declaration.
func Causes() []Cause {
	return []Cause{Transport, Unavailable, Unreadable, Refused, Throttled, Credential, NotFound, Ours}
}

// ErrTransport is wrapped by errors of a question that got no answer.
var ErrTransport = errors.New("no answer from the provider")

// CauseOf is the cause of an error from asking. What nobody has classified is
// our own fault.
func CauseOf(err error) Cause {
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
	At         time.Time
}

// Budget is what a payment has spent so far.
type Budget struct {
	Fired        bool      // The look-up was a parked one; only those spend an attempt.
	Attempts     int       // Spent before this failure.
	FirstFailure time.Time // Zero before the first.
}

// Decision is what to do: park until Due, or give up with Class. Attempts and
// FirstFailure are the budget afterwards.
type Decision struct {
	Park         bool
	Due          time.Time
	Class        record.Class
	Attempts     int
	FirstFailure time.Time
}

// Judge decides about a failure under a policy. All offsets count from the
// first failure. The jitter, from 0 to 1, says how much of the policy's
// jitter to add.
func Judge(f Failure, b Budget, p Policy, jitter float64) Decision {
	d := Decision{Attempts: b.Attempts, FirstFailure: b.FirstFailure}
	if d.FirstFailure.IsZero() {
		d.FirstFailure = f.At
	}
	if wait, free := p.free(f); free {
		d.Park, d.Due = true, f.At.Add(wait)
		return d
	}
	if b.Fired {
		d.Attempts++
	}
	offsets := p.Offsets
	if f.Cause == NotFound {
		offsets = p.NotFound
	}
	if d.Attempts >= len(offsets) {
		d.Class = class(f.Cause)
		return d
	}
	offset := offsets[d.Attempts]
	offset += time.Duration(jitter * p.Jitter * float64(offset))
	d.Park, d.Due = true, d.FirstFailure.Add(offset)
	if d.Due.Before(f.At) {
		d.Due = f.At
	}
	return d
}

// class says whose fault it is when the budget of a cause is spent.
func class(c Cause) record.Class {
	switch c {
	case Ours:
		return record.ClassOurs
	case NotFound:
		return record.ClassData
	case Transport, Unavailable, Unreadable, Refused, Throttled, Credential:
		return record.ClassProvider
	}
	panic("verdict: cause " + string(c) + " has no class")
}
