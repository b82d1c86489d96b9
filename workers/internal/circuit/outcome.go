package circuit

import (
	"context"
	"time"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
)

// Refused records that the provider refused the account's credential in a look-up under
// p. It opens the circuit breaker, unless the record changed since p was acquired: an
// old refusal says nothing of a new credential. It returns how long the payment waits.
func (v *Cache) Refused(ctx context.Context, provider, account string, p Permit, jitter float64) (time.Duration, error) {
	if v == nil {
		return 0, nil
	}
	k := key{provider, account}
	if !v.beginOpening(k, p) {
		return v.First + jittered(v.Spread, jitter), nil
	}
	defer v.endOpening(k)
	now := v.Now().UTC()
	c := record.Circuit{
		Provider: provider, Account: account, State: record.CircuitOpen,
		Since: now, Cause: causeCredential, By: v.Name,
	}
	if p.probe {
		c.Since, c.Probes = p.decidedBy.Since, p.decidedBy.Probes
	}
	wait := v.interval(c.Probes)
	probe := now.Add(wait)
	c.NextProbe = &probe
	e, err := v.store.write(ctx, c, p.decidedBy.sequence)
	if stream.IsConflict(err) {
		return wait + jittered(v.Spread, jitter), v.readAgain(ctx, provider, account)
	}
	if err != nil {
		return 0, err
	}
	v.update(e)
	if p.probe {
		// With jitter, so that another payment may probe next: a provider can refuse a single one.
		return wait + jittered(v.Spread, jitter), nil
	}
	v.metrics.openings.WithLabelValues(provider, account).Inc()
	return wait, nil // Without jitter: this payment's next look-up is the first probe.
}

// beginOpening denies the account's look-ups in this worker before the record is
// written. Of many refusals at once, the first writes it and the others get false.
func (v *Cache) beginOpening(k key, p Permit) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opening[k] || v.records[k].sequence != p.decidedBy.sequence {
		return false
	}
	v.opening[k] = true
	return true
}

// endOpening ends beginOpening: the account's record decides again.
func (v *Cache) endOpening(k key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.opening, k)
}

// interval is the time to the next probe after some have failed.
func (v *Cache) interval(probes int) time.Duration {
	wait := v.First
	for range probes {
		if wait = 2 * wait; wait >= v.Longest {
			return v.Longest
		}
	}
	return wait
}

// Answered records that a look-up under p got an answer which proves the credential. If
// p is a probe, the circuit breaker closes.
func (v *Cache) Answered(ctx context.Context, p Permit) error {
	if v == nil || !p.probe {
		return nil
	}
	return v.finishProbe(ctx, record.Circuit{
		Provider: p.decidedBy.Provider, Account: p.decidedBy.Account, State: record.CircuitClosed,
		Since: v.Now().UTC(), Cause: causeAnswered, By: v.Name,
	}, p)
}

// Proven reports whether the credential that p was acquired for is known to be valid:
// the answer to a probe closed the circuit, and it has stayed closed.
func (v *Cache) Proven(p Permit) bool {
	if v == nil || p.probe || p.decidedBy.State != record.CircuitClosed || p.decidedBy.Cause != causeAnswered {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	k := key{p.decidedBy.Provider, p.decidedBy.Account}
	return !v.opening[k] && v.records[k].sequence == p.decidedBy.sequence
}

// Unproven records that a look-up under p says nothing of the credential. If p is a
// probe, the circuit breaker opens again and the next probe is due soon.
func (v *Cache) Unproven(ctx context.Context, p Permit) error {
	if v == nil || !p.probe {
		return nil
	}
	c := p.decidedBy.Circuit
	probe := v.Now().Add(v.First).UTC()
	c.State, c.NextProbe, c.By = record.CircuitOpen, &probe, v.Name
	return v.finishProbe(ctx, c, p)
}

// finishProbe writes what a probe has found, unless the record has changed since it
// began: an operator's word wins.
func (v *Cache) finishProbe(ctx context.Context, c record.Circuit, p Permit) error {
	e, err := v.store.write(ctx, c, p.decidedBy.sequence)
	if stream.IsConflict(err) {
		return v.readAgain(ctx, c.Provider, c.Account)
	}
	if err != nil {
		return err
	}
	v.update(e)
	return nil
}

// readAgain takes in the record from the stream's leader, even if its sequence is lower
// than the known one: CIRCUITS may have been recreated.
func (v *Cache) readAgain(ctx context.Context, provider, account string) error {
	e, err := v.store.read(ctx, provider, account)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.set(e)
	return nil
}
