package lookup

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/workers/internal/circuit"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/outage"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
	"arauto/workers/internal/verdict"
)

// Limits are what may keep a look-up from being made now. The zero Limits allow every
// look-up.
type Limits struct {
	Circuits *circuit.Cache                // Circuit breakers by account: its credential is refused.
	Outage   *outage.Breaker               // Circuit breaker of the provider: it gives no usable answers.
	Rates    map[string]*ratelimit.Limiter // Rate limits by account.
}

// permit allows one look-up; reportResult must follow. The zero permit is that of a
// task for which no provider is asked.
type permit struct {
	given   bool               // False in the zero permit.
	circuit circuit.Permit     // Of the account's circuit breaker.
	outage  outage.Permit      // Of the provider's circuit breaker.
	rate    *ratelimit.Limiter // The limiter that counts the look-up; nil without a rate limit.
	proven  bool               // The control payment was answered just before.
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
	p := permit{given: true, circuit: w.Circuits.Acquire(w.Provider.Name, t.Account, w.Jitter())}
	if p.circuit.Denied {
		return permit{}, deniedBy(p.circuit)
	}
	var ok bool
	if p.outage, ok = w.Outage.Acquire(t.Account); !ok {
		return permit{}, consume.ErrRetryLater
	}
	p.outage = p.outage.About(t.unit.Payment)
	if b := w.Rates[t.Account]; b != nil {
		allow := b.Allow
		if t.Reason == string(record.RateLimited) {
			allow = b.AllowQueued
		}
		wait, ok := allow(c)
		if !ok {
			w.Outage.Release(p.outage)
			return permit{}, &verdict.DeferredError{Kind: record.RateLimited, Wait: wait}
		}
		p.rate = b
	}
	circuitPermit, err := w.Circuits.AcquireProbe(ctx, p.circuit, w.Jitter())
	if err == nil && circuitPermit.Denied {
		err = deniedBy(circuitPermit)
	}
	if err != nil {
		w.Outage.Release(p.outage)
		p.release()
		return permit{}, err
	}
	p.circuit = circuitPermit
	return p, nil
}

// deniedBy is the error for a look-up that a circuit breaker denied.
func deniedBy(p circuit.Permit) error {
	cause := record.Stopped
	if p.Cause == string(record.Credential) {
		cause = record.Credential
	}
	return &verdict.DeferredError{Kind: cause, Wait: p.Wait}
}

// makesNoRequest reports whether a task needs no request to the provider, because the
// payload is trusted or the account is unknown. Then no limit applies.
func (w *Worker) makesNoRequest(t task) bool {
	account, ok := w.Accounts[t.Account]
	if w.Provider.Ask == nil || !ok {
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
		w.Outage.Release(p.outage)
		return result
	}
	var err error
	cause := record.Failure("")
	if !answered(result) {
		cause = verdict.FailureOf(result)
	}
	switch cause {
	case record.Transport, record.Unavailable, record.Unreadable:
		// An unusable answer counts like none.
		w.Outage.Failed(ctx, p.outage)
		err = w.Circuits.Unproven(ctx, p.circuit)
	case record.Ours, record.RateLimited, record.Stopped:
		w.Outage.Release(p.outage)
		err = w.Circuits.Unproven(ctx, p.circuit)
	case record.Refused, record.Throttled:
		// A proxy or a firewall gives such answers whatever the credential.
		if errors.Is(result, provider.ErrForeign) {
			w.Outage.Failed(ctx, p.outage) // The answer is not the provider's own.
		} else {
			w.Outage.Answered(ctx, p.outage)
		}
		err = w.Circuits.Unproven(ctx, p.circuit)
	case record.Credential:
		w.Outage.Answered(ctx, p.outage)
		alone := (t.Refused() || before.Parked.Refused() || p.proven) && !errors.Is(result, provider.ErrRevoked)
		if alone && w.Circuits.Proven(p.circuit) {
			return fmt.Errorf("%w, about this payment alone: %w", provider.ErrRefused, result)
		}
		if !errors.Is(result, provider.ErrRevoked) && !p.circuit.Probe() {
			switch valid, busy := w.credentialValid(ctx, t); {
			case busy: // Another look-up is checking the credential, and opens the circuit breaker if it is refused there too.
				return fmt.Errorf("%w: %w", &verdict.DeferredError{Kind: record.Credential, Wait: checkDelay}, result)
			case valid:
				return fmt.Errorf("%w, about this payment alone: %w", provider.ErrRefused, result)
			}
		}
		deferred := &verdict.DeferredError{Kind: record.Credential}
		deferred.Wait, err = w.Circuits.Refused(ctx, w.Provider.Name, t.Account, p.circuit, w.Jitter())
		result = fmt.Errorf("%w: %w", deferred, result)
	case "", record.NotFound:
		w.Outage.Answered(ctx, p.outage)
		err = w.Circuits.Answered(ctx, p.circuit)
	}
	if err != nil {
		w.Log.Warn("circuit.write_failed", zap.String("provider", w.Provider.Name), zap.String("account", t.Account), zap.Error(err))
	}
	return result
}
