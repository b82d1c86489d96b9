package lookup

import (
	"context"
	"errors"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
	"arauto/workers/internal/verdict"
)

// probe makes a probe's look-up about the account's control payment, the last payment
// that the provider answered: a payment that an attacker invented proves nothing. If it is
// answered, the task's payment is looked up like any other. Else the task spends
// nothing: it is deferred, or redelivered by consume.ErrRetryLater.
func (w *Worker) probe(ctx context.Context, t task, c ratelimit.Class, p permit) (permit, error) {
	if !p.circuit.Control() && !p.outage.Control() {
		return p, nil
	}
	control, ok := w.control(ctx, t)
	if !ok {
		return p, nil
	}
	_, err := w.ask(ctx, control)
	err = w.reportResult(ctx, control, p, retry.Entry{}, err)
	p.release()
	var deferred *verdict.DeferredError
	switch {
	case ctx.Err() != nil:
		return permit{}, ctx.Err()
	case errors.As(err, &deferred):
		return permit{}, deferred // The wrapped error is left out, because the provider did not refuse the task's own payment.
	case !answered(err) && !errors.Is(err, provider.ErrNotFound):
		return permit{}, consume.ErrRetryLater
	}
	proven := p.circuit.Control()
	p, err = w.acquire(ctx, t, c)
	p.proven = proven
	return p, err
}

// control is the look-up of an account's control payment. ok is false if there is none
// besides the task's payment, or if it cannot be read.
func (w *Worker) control(ctx context.Context, t task) (c task, ok bool) {
	last, ok, err := w.Observations.Answered(ctx, t.Provider, t.Account)
	seen := last.Observation
	if err != nil || !ok || seen.Payment == t.Payment {
		return task{}, false
	}
	c = task{unit: w.Tokens.Unit(t.Provider, t.Account, seen.Payment)}
	c.Provider, c.Account, c.Cause = t.Provider, t.Account, order.CauseRecheck
	c.Kind, c.Payment, c.Order = seen.Kind, seen.Payment, seen.Order
	return c, true
}

// checkDelay is how long a payment with a refused credential is deferred while another
// look-up checks the account's credential. A guess: longer than most look-ups take.
const checkDelay = time.Second

// credentialValid checks a credential that was refused in a look-up of one payment:
// valid is true if the control payment is answered with it now, so that invented
// payments do not stop the account. busy is true while another look-up of the account
// checks it.
func (w *Worker) credentialValid(ctx context.Context, t task) (valid, busy bool) {
	check := w.setup().checks[t.Account]
	if check == nil {
		return false, false
	}
	if !check.TryLock() {
		return false, true
	}
	defer check.Unlock()
	return w.controlAnswered(ctx, t), false
}

// controlAnswered asks for the account's control payment, and reports whether it was answered.
func (w *Worker) controlAnswered(ctx context.Context, t task) bool {
	control, ok := w.control(ctx, t)
	if !ok {
		return false
	}
	_, err := w.ask(ctx, control)
	return answered(err) || errors.Is(err, provider.ErrNotFound)
}

// checkLasts is how long the answer for a control payment holds for other refusals of the
// account, so that a flood of them costs the provider one look-up a second. A guess.
const checkLasts = time.Second

// reportRefusal tells the host's circuit breaker of a refused look-up. One in foreign words is of
// a firewall: it is about the payment alone if the control payment is answered now, so that
// invented payments do not stop every account of the host, and else counts like no answer.
func (w *Worker) reportRefusal(ctx context.Context, t task, p permit, result error) error {
	check := w.setup().checks[t.Account]
	if !errors.Is(result, provider.ErrForeign) {
		return w.Outage.Answered(ctx, p.outage)
	}
	if check == nil {
		return w.Outage.Failed(ctx, p.outage)
	}
	check.Lock()
	defer check.Unlock()
	if now := w.Now(); now.Sub(check.at) > checkLasts {
		check.answered = w.controlAnswered(ctx, t)
		check.at = w.Now()
	}
	switch {
	case ctx.Err() != nil: // The control payment was not asked for to the end.
		check.at = time.Time{}
		return w.Outage.Release(context.WithoutCancel(ctx), p.outage)
	case check.answered:
		return w.Outage.Answered(ctx, p.outage)
	}
	return w.Outage.Failed(ctx, p.outage)
}
