// Package breaker holds the circuit breakers of the look-ups. An account's opens when the
// provider refuses its credential, an upstream host's when it gives no usable answer.
// While one is open no worker looks up its payments, and one probe at a time finds out
// whether it may close. The state is one record per scope in the stream CIRCUITS; each
// change is a compare-and-append, which the broker republishes to every worker.
package breaker

import (
	"fmt"
	"slices"
	"time"

	"arauto/schemas/record"
)

// The causes of a record.
const (
	causeCredential = "credential" // The provider refused the credential.
	causeOutage     = "outage"     // The host gave no usable answer.
	causeAnswered   = "answered"   // A probe got an answer.
	causeOperator   = "operator"   // An operator opened or closed the circuit breaker.
	causeUnreadable = "unreadable" // The record does not decode. This cause is never written.
)

// cause is why the circuit breaker of a scope opens by itself.
func cause(c record.Circuit) string {
	if c.OfHost() {
		return causeOutage
	}
	return causeCredential
}

// event is what may change the state of a circuit breaker.
type event int

const (
	tripped  event = iota // Look-ups fail for a reason that concerns all of the scope.
	probed                // A worker begins the probe that is due.
	answered              // The scope's look-ups are answered.
	failed                // The probe failed for the reason for which the circuit breaker opened.
	unproven              // The probe says nothing of that reason.
	stopped               // An operator stops the look-ups.
	resumed               // An operator lets them run again.
)

// Waits say how long an open circuit breaker waits for a probe.
type Waits struct {
	First   time.Duration // The time from opening to the first probe; each failed probe doubles it.
	Longest time.Duration // The longest time between two probes.
	Expiry  time.Duration // How long a probe may take before another worker may probe.
}

// interval is the time to the next probe after some have failed.
func (w Waits) interval(failed int) time.Duration {
	wait := w.First
	for ; failed > 0 && wait < w.Longest; failed-- {
		wait *= 2
	}
	return min(wait, w.Longest)
}

// next returns the record that follows c. ok is false if the event changes nothing: it is
// about an earlier state. about is the account that was probed, of as many as share the
// scope.
func (w Waits) next(c record.Circuit, e event, about string, accounts int) (n record.Circuit, ok bool) {
	closed := c.State == "" || c.State == record.CircuitClosed
	probing := !closed && c.Cause != causeOperator // An operator's word wins.
	half := c.State == record.CircuitHalfOpen
	turned := func(to record.CircuitState, cause string, wait time.Duration) (record.Circuit, bool) {
		return record.Circuit{Provider: c.Provider, Account: c.Account, State: to, Cause: cause, Wait: wait}, true
	}
	n = c
	switch e {
	case tripped:
		if closed {
			return turned(record.CircuitOpen, cause(c), w.First)
		}
	case probed:
		n.State, n.Wait, n.Probes = record.CircuitHalfOpen, w.Expiry, c.Probes+1
		return n, probing
	case answered:
		if probing {
			return turned(record.CircuitClosed, causeAnswered, 0)
		}
	case failed:
		n.State, n.Wait = record.CircuitOpen, w.interval(c.Probes/max(accounts, 1))
		n.Failed = append(slices.Clone(c.Failed), about)
		if slices.Contains(c.Failed, about) || len(n.Failed) >= accounts {
			n.Failed = nil
		}
		return n, half
	case unproven:
		n.State, n.Wait = record.CircuitOpen, w.First
		return n, half
	case stopped:
		return turned(record.CircuitOpen, causeOperator, 0)
	case resumed:
		return turned(record.CircuitClosed, causeOperator, 0)
	default:
		panic(fmt.Sprintf("event %d of a circuit breaker is not declared", e))
	}
	return c, false
}

// entry is a record, its sequence, which the next one expects, and when the broker stored
// it. The zero entry is that of a scope without a record.
type entry struct {
	sequence uint64
	at       time.Time
	record.Circuit
}

// clockBack is how far the record of a circuit may lie in the future: further, and the broker's
// clock was set back. A guess, more than two servers' clocks may differ.
const clockBack = time.Minute

// probeIn is how long until a look-up of an account may probe; ok is false if none may. After the
// broker's clock was set back a probe is due, whose record has the new time: else nothing would
// be asked for as long as the clock was ahead.
func (e entry) probeIn(now time.Time, account string) (wait time.Duration, ok bool) {
	if now.Before(e.at.Add(-clockBack)) {
		return 0, e.Cause != causeOperator
	}
	if len(e.Failed) > 0 && e.State == record.CircuitOpen && !slices.Contains(e.Failed, account) {
		return 0, true
	}
	return max(e.at.Add(e.Wait).Sub(now), 0), e.Cause != causeOperator
}

// open reports whether the circuit breaker is open or half-open.
func (e entry) open() bool { return e.State != "" && e.State != record.CircuitClosed }
