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
	"arauto/workers/internal/observations"
	"arauto/workers/internal/outage"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
	"arauto/workers/internal/verdict"
)

// Limits are what may keep a look-up from being made now. The zero Gates let
// everything pass.
type Limits struct {
	Circuits *circuit.Cache                // One per account: its credential is refused.
	Outage   *outage.Breaker               // The provider does not answer anybody.
	Rates    map[string]*ratelimit.Limiter // By account: it is asked as fast as it may be.
}

// permit is permission for one look-up, to be told what came of it. The zero
// leave is that of a payment about which nobody is asked.
type permit struct {
	given  bool
	pass   circuit.Permit
	outage outage.Permit
	budget *ratelimit.Limiter
	proven bool // The control payment was answered just before.
}

// release frees the place of a look-up that has ended, however it did.
func (l permit) release() {
	if l.budget != nil {
		l.budget.Release()
	}
}

// acquire asks every gate. A verdict.HeldError parks the payment, and
// consume.ErrNotNow leaves the message with the broker. The cheapest gate
// comes first, and the claim to probe last, because it is written down.
func (w *Worker) acquire(ctx context.Context, t task, c ratelimit.Class) (permit, error) {
	if w.asksNobody(t) {
		return permit{}, nil
	}
	l := permit{given: true, pass: w.Circuits.Acquire(w.Provider.Name, t.account, w.Jitter())}
	if l.pass.Held {
		return permit{}, heldBy(l.pass)
	}
	var ok bool
	if l.outage, ok = w.Outage.Acquire(t.account); !ok {
		return permit{}, consume.ErrRetryLater
	}
	l.outage = l.outage.About(t.unit.Payment)
	if b := w.Rates[t.account]; b != nil {
		enter := b.Allow
		if t.fired != nil && t.fired.Reason == string(record.RateLimited) {
			enter = b.AllowQueued
		}
		wait, ok := enter(c)
		if !ok {
			w.Outage.Release(l.outage)
			return permit{}, &verdict.HeldError{Kind: record.RateLimited, Wait: wait}
		}
		l.budget = b
	}
	pass, err := w.Circuits.AcquireProbe(ctx, l.pass, w.Jitter())
	if err == nil && pass.Held {
		err = heldBy(pass)
	}
	if err != nil {
		w.Outage.Release(l.outage)
		l.release()
		return permit{}, err
	}
	l.pass = pass
	return l, nil
}

// queue parks a fresh notification for which nothing is parked yet and whose account
// is asked as fast as it may be, and reports whether it did. In a flood of invented
// payments each costs three round trips to the broker so, and not six, and the
// notifications of the provider's other accounts wait behind them. Where it cannot,
// admit decides.
func (w *Worker) queue(ctx context.Context, t task, last observations.Entry, waiting retry.Entry) (bool, error) {
	b := w.Rates[t.account]
	if b == nil || t.fired != nil || t.doubtful || waiting.Sequence > 0 || w.asksNobody(t) ||
		w.Circuits.Acquire(w.Provider.Name, t.account, w.Jitter()).Held {
		return false, nil
	}
	switch err := w.room(ctx, t, last, waiting, record.RateLimited); {
	case errors.Is(err, retry.ErrFull):
		return false, nil
	case err != nil:
		return false, err
	}
	wait, crowded := b.Queue(class(t, last, waiting))
	if !crowded {
		return false, nil
	}
	d := verdict.Judge(verdict.Failure{Kind: record.RateLimited, Held: wait, At: w.Now()}, t.budget(), w.Policy, w.Jitter())
	p := t.parked()
	p.Reason, p.DueAt = string(record.RateLimited), d.Due.UTC()
	return w.Retries.ScheduleIfNone(ctx, p)
}

func heldBy(p circuit.Permit) error {
	cause := record.Stopped
	if p.Cause == string(record.Credential) {
		cause = record.Credential
	}
	return &verdict.HeldError{Kind: cause, Wait: p.Wait}
}

// asksNobody reports whether the webhook is believed, or the account unknown:
// then there is nobody to spare.
func (w *Worker) asksNobody(t task) bool {
	account, ok := w.Accounts[t.account]
	if w.Provider.Ask == nil || !ok {
		return true
	}
	if w.Provider.Payload == nil {
		return false
	}
	_, err := w.Provider.Ask(t.target, account)
	return errors.Is(err, provider.ErrNoLookUp)
}

// release tells the gates what came of a look-up, and returns the error by
// which the payment is judged. A credential that is refused about a payment
// once more, after an answer about another one has proved it, or right behind such
// an answer, is refused about this payment alone, for example because it is another
// store's: that spends its budget and ends in a letter. To open the circuit for it would
// stop the account again and again. Were the credential revoked a second time,
// the first other payment that is refused opens it, or a refusal that is certain
// to be about the credential itself. What a gate cannot write down now corrects
// itself: a claim to probe ends, and the next refusal opens the circuit. waiting
// is what was parked for the payment before it was asked for.
func (w *Worker) release(ctx context.Context, t task, l permit, waiting retry.Entry, asked error) error {
	if !l.given {
		return asked
	}
	if ctx.Err() != nil {
		w.Outage.Release(l.outage)
		return asked
	}
	var err error
	cause := record.Failure("")
	if !answered(asked) {
		cause = verdict.FailureOf(asked)
	}
	switch cause {
	case record.Transport, record.Unavailable, record.Unreadable:
		// An answer that nobody can use is worth no more than none.
		w.Outage.Failed(ctx, l.outage)
		err = w.Circuits.Unproven(ctx, l.pass)
	case record.Ours, record.RateLimited, record.Stopped:
		w.Outage.Release(l.outage)
		err = w.Circuits.Unproven(ctx, l.pass)
	case record.Refused, record.Throttled:
		// Somebody is there, but an edge says such things whatever the credential.
		if errors.Is(asked, provider.ErrForeign) {
			w.Outage.Failed(ctx, l.outage) // The provider itself has not spoken.
		} else {
			w.Outage.Answered(ctx, l.outage)
		}
		err = w.Circuits.Unproven(ctx, l.pass)
	case record.Credential:
		w.Outage.Answered(ctx, l.outage)
		alone := (t.refused || waiting.Parked.Refused || l.proven) && !errors.Is(asked, provider.ErrRevoked)
		if alone && w.Circuits.Proven(l.pass) {
			return fmt.Errorf("%w, about this payment alone: %w", provider.ErrRefused, asked)
		}
		if !errors.Is(asked, provider.ErrRevoked) && !l.pass.Probe() {
			switch good, busy := w.answersOthers(ctx, t); {
			case busy: // Whoever finds out opens the circuit, or does not.
				return fmt.Errorf("%w: %w", &verdict.HeldError{Kind: record.Credential, Wait: checkEvery}, asked)
			case good:
				return fmt.Errorf("%w, about this payment alone: %w", provider.ErrRefused, asked)
			}
		}
		held := &verdict.HeldError{Kind: record.Credential}
		held.Wait, err = w.Circuits.Refused(ctx, w.Provider.Name, t.account, l.pass, w.Jitter())
		asked = fmt.Errorf("%w: %w", held, asked)
	case "", record.NotFound:
		w.Outage.Answered(ctx, l.outage)
		err = w.Circuits.Answered(ctx, l.pass)
	}
	if err != nil {
		w.Log.Warn("circuit not written", zap.String("provider", w.Provider.Name), zap.String("account", t.account), zap.Error(err))
	}
	return asked
}

// addsCoverage reports whether a fresh notification is reason to ask now. It is not
// when the provider has just called the payment unknown, or when the payment
// stands in the line already: then what is parked stands for it too.
func (w *Worker) addsCoverage(t task, waiting retry.Entry) bool {
	if t.fired != nil || waiting.Sequence == 0 || !waiting.Parked.DueAt.After(w.Now()) {
		return true
	}
	return waiting.Parked.Reason != string(record.NotFound) && waiting.Parked.Reason != string(record.RateLimited)
}

// extendCoverage lets what is parked stand for a fresh notification too. If that has
// fired and failed meanwhile, the notification still comes due when it was to.
// A payment that is unknown to the provider is asked for again as soon as it
// would have been after the first time: it may be known by now.
func (w *Worker) extendCoverage(ctx context.Context, t task, waiting retry.Entry) error {
	p := waiting.Parked
	p.Cover(t.parked())
	if p.Reason != string(record.NotFound) {
		return w.Retries.ScheduleUnasked(ctx, p)
	}
	soon := waiting.At.Add(w.Policy.WaitNotFound(1, w.slowdown(t.account)))
	if now := w.Now(); soon.Before(now) {
		soon = now
	}
	if soon.Before(p.DueAt) {
		p.DueAt = soon.UTC()
	}
	return w.Retries.ExtendCoverage(ctx, p)
}
