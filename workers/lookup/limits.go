package lookup

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
	"arauto/workers/internal/verdict"
)

// Limits are what may keep a look-up from being made now. The zero Limits allow every
// look-up.
type Limits struct {
	Circuits *breaker.Cache                // Circuit breakers by account: its credential is refused.
	Outage   *breaker.Outage               // Circuit breakers of the provider's hosts: they give no usable answers.
	Rates    map[string]*ratelimit.Limiter // Rate limits by account.
}

// permit allows one look-up; reportResult must follow. The zero permit is that of a
// task for which no provider is asked.
type permit struct {
	given   bool               // False in the zero permit.
	circuit breaker.Permit     // Of the account's circuit breaker.
	outage  breaker.HostPermit // Of its host's circuit breaker.
	rate    *ratelimit.Limiter // The limiter that counts the look-up; nil without a rate limit.
	proven  bool               // The control payment was answered just before.
}

// room returns how many of want messages to pull: none while this worker has no share of
// the rate limits.
func (w *Worker) room(want int) int {
	for _, b := range w.setup().Rates {
		if !b.Ready() {
			return 0
		}
	}
	return w.Outage.Room(want)
}

// OverLimit reports whether look-ups of the account of a notification or of a due look-up,
// by its subject, are queued for the rate limit.
func (w *Worker) OverLimit(on string) bool {
	account := ""
	if unit, err := subject.ParseUnit(on); err == nil {
		account = unit.Account
	} else if due, err := subject.ParseWaiting(on); err == nil {
		account = due.Account
	}
	b := w.setup().Rates[account]
	return b != nil && b.Queued() > 0
}

// release ends a look-up's place in the rate limit, however the look-up ended.
func (p permit) release() {
	if p.rate != nil {
		p.rate.Release()
	}
}

// acquire asks every limit. With a verdict.DeferredError the task is scheduled, with
// consume.ErrRetryLater the message is redelivered. The cheapest limit comes first; the
// probe's record comes last, because it is written to the broker.
func (w *Worker) acquire(ctx context.Context, t task, c ratelimit.Class) (permit, error) {
	if w.makesNoRequest(t) {
		return permit{}, nil
	}
	p := permit{given: true, circuit: w.Circuits.Acquire(w.Provider.Name, t.Account)}
	if p.circuit.Denied {
		return permit{}, w.deniedBy(p.circuit)
	}
	var ok bool
	if p.outage, ok = w.Outage.Acquire(t.Account); !ok {
		return permit{}, w.deniedByHost(p.outage)
	}
	p.outage = p.outage.About(t.unit.Payment)
	if err := w.acquireRate(t, c, &p); err != nil {
		return permit{}, errors.Join(err, w.Outage.Release(ctx, p.outage))
	}
	err := w.acquireProbe(ctx, &p)
	if err != nil {
		p.release()
		return permit{}, err
	}
	return p, nil
}

// acquireRate asks the account's rate limit.
func (w *Worker) acquireRate(t task, c ratelimit.Class, p *permit) error {
	b := w.setup().Rates[t.Account]
	if b == nil {
		return nil
	}
	if !b.Ready() {
		return consume.ErrRetryLater
	}
	allow := b.Allow
	if t.Reason == string(record.RateLimited) {
		allow = b.AllowQueued
	}
	wait, ok := allow(c)
	if !ok {
		return &verdict.DeferredError{Kind: record.RateLimited, Wait: wait}
	}
	p.rate = b
	return nil
}

// acquireProbe writes that this look-up probes, if it does.
func (w *Worker) acquireProbe(ctx context.Context, p *permit) error {
	circuit, err := w.Circuits.AcquireProbe(ctx, p.circuit)
	if err == nil && circuit.Denied {
		err = w.deniedBy(circuit)
	}
	if err != nil {
		return errors.Join(err, w.Outage.Release(ctx, p.outage))
	}
	host, ok, err := w.Outage.AcquireProbe(ctx, p.outage)
	if err == nil && !ok {
		err = w.deniedByHost(host)
	}
	if err != nil {
		return errors.Join(err, w.Circuits.Unproven(ctx, circuit))
	}
	p.circuit, p.outage = circuit, host
	return nil
}

// deniedBy is the error for a look-up that an account's circuit breaker denied.
func (w *Worker) deniedBy(p breaker.Permit) error {
	cause := record.Stopped
	if p.Cause == string(record.Credential) {
		cause = record.Credential
	}
	return &verdict.DeferredError{Kind: cause, Wait: w.Circuits.Defer(p, w.Jitter())}
}

// deniedByHost is deniedBy for a host's circuit breaker.
func (w *Worker) deniedByHost(p breaker.HostPermit) error {
	if wait, ok := w.Outage.Defer(p, w.Jitter()); ok {
		return &verdict.DeferredError{Kind: record.Stopped, Wait: wait}
	}
	return consume.ErrRetryLater
}

// makesNoRequest reports whether a task needs no request to the provider, because the
// payload is trusted or the account is unknown. Then no limit applies.
func (w *Worker) makesNoRequest(t task) bool {
	account, known := w.setup().Accounts[t.Account]
	return !known || w.makesNoRequestOf(t, account)
}

// makesNoRequestOf is makesNoRequest for a known account.
func (w *Worker) makesNoRequestOf(t task, account provider.Account) bool {
	if w.Provider.Ask == nil {
		return true
	}
	if w.Provider.Payload == nil {
		return false
	}
	_, err := w.Provider.Ask(t.target(), account)
	return errors.Is(err, provider.ErrNoLookUp)
}

// reportResult tells the limits what a look-up came to, and returns the error by which
// the task is decided. before is what was scheduled for the payment.
//   - A credential may be refused for one payment only, for example another store's. It is,
//     if the payment was refused before or right after the control payment was answered.
//     That spends an attempt; to open the circuit breaker would stop the account over and over.
//   - A revoked credential opens it at the next refusal of another payment, or at once if
//     the refusal is certain to be about the credential.
//   - A record that cannot be written corrects itself: a probe's record expires, and the
//     next refusal opens the circuit breaker.
func (w *Worker) reportResult(ctx context.Context, t task, p permit, before retry.Entry, result error) error {
	if !p.given {
		return result
	}
	if ctx.Err() != nil {
		return errors.Join(result, w.Outage.Release(context.WithoutCancel(ctx), p.outage))
	}
	var host, circuit error // Of writing a record.
	cause := record.Failure("")
	if !answered(result) {
		cause = verdict.FailureOf(result)
	}
	switch cause {
	case record.Transport, record.Unavailable, record.Unreadable:
		// An unusable answer counts like none.
		host = w.Outage.Failed(ctx, p.outage)
		circuit = w.Circuits.Unproven(ctx, p.circuit)
	case record.Ours, record.RateLimited, record.Stopped:
		host = w.Outage.Release(ctx, p.outage)
		circuit = w.Circuits.Unproven(ctx, p.circuit)
	case record.Refused, record.Throttled:
		// A proxy or a firewall gives such answers whatever the credential.
		host = w.reportRefusal(ctx, t, p, result)
		circuit = w.Circuits.Unproven(ctx, p.circuit)
	case record.Credential:
		host = w.Outage.Answered(ctx, p.outage)
		result, circuit = w.credentialRefused(ctx, t, p, before, result)
	case "", record.NotFound:
		host = w.Outage.Answered(ctx, p.outage)
		circuit = w.Circuits.Answered(ctx, p.circuit)
	}
	if err := errors.Join(host, circuit); err != nil {
		w.Log.Warn("circuit.write_failed", zap.String("provider", w.Provider.Name), zap.String("account", t.Account), zap.Error(err))
	}
	return result
}

// credentialRefused returns the error by which a task is decided whose credential was
// refused. It opens the account's circuit breaker unless the payment alone is refused.
func (w *Worker) credentialRefused(ctx context.Context, t task, p permit, before retry.Entry, result error) (decided, written error) {
	alone := t.Refused() || before.Parked.Refused() || p.proven
	switch {
	case errors.Is(result, provider.ErrRevoked):
	case alone && w.Circuits.Proven(p.circuit):
		return fmt.Errorf("%w, about this payment alone: %w", provider.ErrRefused, result), nil
	case p.circuit.Probe():
	default:
		switch valid, busy := w.credentialValid(ctx, t); {
		case busy: // Another look-up is checking the credential, and opens the circuit breaker if it is refused there too.
			return fmt.Errorf("%w: %w", &verdict.DeferredError{Kind: record.Credential, Wait: checkDelay}, result), nil
		case valid:
			return fmt.Errorf("%w, about this payment alone: %w", provider.ErrRefused, result), nil
		}
	}
	wait, err := w.Circuits.Refused(ctx, p.circuit, w.Jitter())
	return fmt.Errorf("%w: %w", &verdict.DeferredError{Kind: record.Credential, Wait: wait}, result), err
}
