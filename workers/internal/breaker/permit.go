package breaker

import (
	"context"
	"time"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
)

// scope is what one circuit breaker is for.
type scope struct {
	key
	waits    Waits
	accounts int // How many accounts share it.
}

func (v *Cache) ofAccount(provider, account string) scope {
	return scope{key: key{provider, account}, waits: v.Waits, accounts: 1}
}

// Permit is what Acquire decided about one look-up. The zero Permit allows it.
type Permit struct {
	Denied bool   // The look-up must not be made now.
	Cause  string // If denied: why the circuit is open.

	probe     bool
	scope     scope
	account   string // Of the look-up.
	decidedBy entry  // The record that led to the decision.
}

// Probe reports whether the look-up probes an open circuit breaker.
func (p Permit) Probe() bool { return p.probe }

// Control reports whether the probe should ask about a payment that the provider has
// answered before. Every second probe does not, because the provider may by now refuse
// that very payment.
func (p Permit) Control() bool { return p.probe && p.decidedBy.Probes%2 == 1 }

// Acquire says whether a payment of the account may be looked up, as far as this worker
// knows.
func (v *Cache) Acquire(provider, account string) Permit {
	if v == nil {
		return Permit{}
	}
	return v.acquire(v.ofAccount(provider, account), account)
}

// yield is how long the worker that opened a host's circuit leaves the next probe to the
// others, which may be answered. A guess: workers pull twice a second.
const yield = time.Second

// acquire is Acquire for any scope.
func (v *Cache) acquire(s scope, account string) Permit {
	e, opening := v.known(s.key)
	p := Permit{scope: s, account: account, decidedBy: e, Cause: e.Cause}
	switch {
	case opening:
		p.Denied, p.Cause = true, cause(e.Circuit)
	case e.open():
		now := v.Now()
		if e.OfHost() && e.By == v.Name && v.workers() > 1 {
			now = now.Add(-min(yield, e.Wait))
		}
		wait, ok := e.probeIn(now, account)
		p.probe = ok && wait == 0
		p.Denied = !p.probe
	}
	return p
}

// workers is how many workers the fleet has.
func (v *Cache) workers() int {
	if v.Workers == nil {
		return 1
	}
	return v.Workers()
}

// AcquireProbe must be called with a permit right before its look-up. If it is a probe,
// the half-open record is written: of all workers that try, one keeps its permit, and
// the others are denied.
func (v *Cache) AcquireProbe(ctx context.Context, p Permit) (Permit, error) {
	if v == nil || !p.probe {
		return p, nil
	}
	e, written, err := v.change(ctx, p, probed)
	if err != nil {
		return p, err
	}
	p.probe, p.Denied, p.decidedBy = written, !written, e
	return p, nil
}

// change applies an event to the record that p was acquired under, and stores the result.
// written is false if the event changes nothing, or if the record has changed since: an
// operator's word wins, and an old failure says nothing of a new credential.
func (v *Cache) change(ctx context.Context, p Permit, e event) (after entry, written bool, err error) {
	c, ok := p.scope.waits.next(p.decidedBy.Circuit, e, p.account, p.scope.accounts)
	if !ok {
		return p.decidedBy, false, nil
	}
	c.By = v.Name
	after, err = v.store.write(ctx, c, p.decidedBy.sequence, v.Now())
	if stream.IsConflict(err) {
		return p.decidedBy, false, v.readAgain(ctx, p.scope.key)
	}
	if err != nil {
		return p.decidedBy, false, err
	}
	v.update(after)
	return after, true, nil
}

// Refused records that the provider refused the account's credential in a look-up under
// p, and returns how long the payment waits. It opens the circuit breaker, unless the record
// changed since p was acquired. jitter is that of Defer: the payment that opens the circuit
// makes the first probe, and another one may make the next, because a provider can refuse a
// single payment.
func (v *Cache) Refused(ctx context.Context, p Permit, jitter float64) (time.Duration, error) {
	if v == nil {
		return 0, nil
	}
	opened, err := v.fail(ctx, p)
	if opened && !p.probe {
		v.metrics.openings.WithLabelValues(p.scope.provider, p.scope.account).Inc()
		jitter = 0
	}
	return v.Defer(p, jitter), err
}

// fail opens the circuit breaker of any scope. This worker's look-ups are denied before
// the record is written: of many failures at once, the first writes it.
func (v *Cache) fail(ctx context.Context, p Permit) (opened bool, err error) {
	if !v.beginOpening(p) {
		return false, nil
	}
	defer v.endOpening(p)
	e := tripped
	if p.probe {
		e = failed
	}
	_, opened, err = v.change(ctx, p, e)
	return opened, err
}

func (v *Cache) beginOpening(p Permit) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opening[p.scope.key] || v.records[p.scope.key].sequence != p.decidedBy.sequence {
		return false
	}
	v.opening[p.scope.key] = true
	return true
}

func (v *Cache) endOpening(p Permit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.opening, p.scope.key)
}

// Answered records that a look-up under p got an answer which proves the credential. If
// p is a probe, the circuit breaker closes.
func (v *Cache) Answered(ctx context.Context, p Permit) error { return v.finish(ctx, p, answered) }

// Unproven records that a look-up under p says nothing of the credential. If p is a
// probe, the circuit breaker opens again and the next probe is due soon.
func (v *Cache) Unproven(ctx context.Context, p Permit) error { return v.finish(ctx, p, unproven) }

// finish writes what a probe has found.
func (v *Cache) finish(ctx context.Context, p Permit, e event) error {
	if v == nil || !p.probe {
		return nil
	}
	_, _, err := v.change(ctx, p, e)
	return err
}

// Proven reports whether the credential that p was acquired for is known to be valid:
// the answer to a probe closed the circuit, and it has stayed closed.
func (v *Cache) Proven(p Permit) bool {
	if v == nil || p.probe || p.decidedBy.State != record.CircuitClosed || p.decidedBy.Cause != causeAnswered {
		return false
	}
	e, opening := v.known(p.scope.key)
	return !opening && e.sequence == p.decidedBy.sequence
}

// deferPace bounds what deferrals cost the broker: N look-ups that wait for one circuit are
// spread over N times deferPace, so that 50 a second become due. A guess: each costs a few
// writes, and 50 a second take a tenth of two cores.
const deferPace = 40 * time.Millisecond

// Bounds of the time over which deferred look-ups are spread: of a few, and of any number.
// Once the circuit has closed, lookup brings them forward. Guesses: above 45,000, more than
// 50 a second become due.
const (
	spreadOfFew   = 5 * time.Minute
	longestSpread = 30 * time.Minute
)

// Defer returns how long a denied look-up waits: until a probe is due, and then a share of
// the time over which deferred look-ups are spread. That grows with how long the circuit
// has been open, and with how many look-ups wait for it. jitter, from 0 to 1, is the share.
func (v *Cache) Defer(p Permit, jitter float64) time.Duration {
	if v == nil {
		return 0
	}
	e, _ := v.known(p.scope.key)
	now, first := v.Now(), p.scope.waits.First
	wait, probe := e.probeIn(now, p.account)
	if !e.open() || !probe || wait == 0 {
		wait = first // The circuit has closed, an operator holds it open, or another look-up probes.
	}
	spread := 2 * first
	if e.open() && !e.Since.IsZero() {
		spread = min(max(spread, now.Sub(e.Since)/4), spreadOfFew)
	}
	waiting := v.workers() * v.deferrals.count(p.scope.key, now)
	spread = max(spread, min(time.Duration(waiting)*deferPace, longestSpread))
	wait = min(wait, p.scope.waits.Longest) + time.Duration(jitter*float64(spread))
	v.deferrals.add(p.scope.key, now, wait)
	return wait
}
