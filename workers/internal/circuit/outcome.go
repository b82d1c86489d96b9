package circuit

import (
	"context"
	"time"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
)

// Refused takes note that the provider refused the account's credential under
// p. It opens the circuit, unless it changed since p was given: an old refusal
// says nothing of a new credential. It returns how long the payment waits.
func (v *Cache) Refused(ctx context.Context, provider, account string, p Permit, jitter float64) (time.Duration, error) {
	if v == nil {
		return 0, nil
	}
	k := key{provider, account}
	if !v.open(k, p) {
		return v.First + spread(v.Spread, jitter), nil
	}
	defer v.close(k)
	now := v.Now().UTC()
	c := record.Circuit{
		Provider: provider, Account: account, State: record.CircuitOpen,
		Since: now, Cause: causeCredential, By: v.Name,
	}
	if p.probe {
		c.Since, c.Probes = p.basis.Since, p.basis.Probes
	}
	wait := v.interval(c.Probes)
	probe := now.Add(wait)
	c.NextProbe = &probe
	e, err := v.board.write(ctx, c, p.basis.sequence)
	if stream.IsConflict(err) {
		return wait + spread(v.Spread, jitter), v.reread(ctx, provider, account)
	}
	if err != nil {
		return 0, err
	}
	v.learn(e)
	if p.probe {
		// Another payment may probe next: a provider can refuse a single one.
		return wait + spread(v.Spread, jitter), nil
	}
	v.metrics.opened(provider, account)
	return wait, nil // Without jitter: whoever met the refusal is there to probe.
}

// open stops the account in this worker before the record is written. The
// first of many refusals writes it.
func (v *Cache) open(k key, p Permit) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tripped[k] || v.known[k].sequence != p.basis.sequence {
		return false
	}
	v.tripped[k] = true
	return true
}

func (v *Cache) close(k key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.tripped, k)
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

// Answered takes note that a look-up under p got an answer which proves the
// credential. A probe closes the circuit with it.
func (v *Cache) Answered(ctx context.Context, p Permit) error {
	if v == nil || !p.probe {
		return nil
	}
	return v.finishProbe(ctx, record.Circuit{
		Provider: p.basis.Provider, Account: p.basis.Account, State: record.CircuitClosed,
		Since: v.Now().UTC(), Cause: causeAnswered, By: v.Name,
	}, p)
}

// Proven reports whether the credential under which p was given is good as far
// as this worker knows: a probe's answer closed the circuit, and it has been
// closed since.
func (v *Cache) Proven(p Permit) bool {
	if v == nil || p.probe || p.basis.State != record.CircuitClosed || p.basis.Cause != causeAnswered {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	k := key{p.basis.Provider, p.basis.Account}
	return !v.tripped[k] && v.known[k].sequence == p.basis.sequence
}

// Unproven takes note that a look-up under p learned nothing of the
// credential. A probe hands its claim back, and the next one is due soon.
func (v *Cache) Unproven(ctx context.Context, p Permit) error {
	if v == nil || !p.probe {
		return nil
	}
	c := p.basis.Circuit
	probe := v.Now().Add(v.First).UTC()
	c.State, c.NextProbe, c.By = record.CircuitOpen, &probe, v.Name
	return v.finishProbe(ctx, c, p)
}

// finishProbe writes what a probe came to, unless its claim is no longer the
// last word: an operator's counts more.
func (v *Cache) finishProbe(ctx context.Context, c record.Circuit, p Permit) error {
	e, err := v.board.write(ctx, c, p.basis.sequence)
	if stream.IsConflict(err) {
		return v.reread(ctx, c.Provider, c.Account)
	}
	if err != nil {
		return err
	}
	v.learn(e)
	return nil
}

// reread takes in what the stream's leader says, also where its numbers are
// lower than what was known: the stream may have been recreated.
func (v *Cache) reread(ctx context.Context, provider, account string) error {
	e, err := v.board.read(ctx, provider, account)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.store(e)
	return nil
}
