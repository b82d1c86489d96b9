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

// probe lets a look-up that probes a circuit or a pause ask about the account's
// control payment first: the last one that the provider answered. What it says of
// a payment that somebody made up proves nothing. Once the control payment is
// answered the gates are open, and the payment in hand is asked for like any
// other. Else it is not asked for and spends nothing: a verdict.HeldError parks
// it, and consume.ErrNotNow leaves it with the broker.
func (w *Worker) probe(ctx context.Context, t task, c ratelimit.Class, l permit) (permit, error) {
	if !l.pass.Control() && !l.outage.Control() {
		return l, nil
	}
	control, ok := w.control(ctx, t)
	if !ok {
		return l, nil
	}
	_, err := w.ask(ctx, control)
	err = w.release(ctx, control, l, retry.Entry{}, err)
	l.release()
	var held *verdict.HeldError
	switch {
	case ctx.Err() != nil:
		return permit{}, ctx.Err()
	case errors.As(err, &held):
		return permit{}, held // Without what it wraps: the payment in hand was not refused.
	case !answered(err) && !errors.Is(err, provider.ErrNotFound):
		return permit{}, consume.ErrRetryLater
	}
	proven := l.pass.Control()
	l, err = w.acquire(ctx, t, c)
	l.proven = proven
	return l, err
}

// control is the look-up of an account's control payment. ok is false where there
// is none beside the payment in hand, or where it cannot be read now.
func (w *Worker) control(ctx context.Context, t task) (c task, ok bool) {
	last, ok, err := w.Observations.Answered(ctx, t.unit.Provider, t.account)
	seen := last.Observation
	if err != nil || !ok || seen.Payment == t.target.Payment {
		return task{}, false
	}
	c = task{unit: w.Tokens.Unit(t.unit.Provider, t.account, seen.Payment), account: t.account, cause: order.CauseRecheck}
	c.target = provider.Target{Kind: seen.Kind, Payment: seen.Payment, Order: seen.Order}
	return c, true
}

// checkEvery is how long a payment waits whose refusal came while it is being found out
// whether the account is refused. A look-up takes less, mostly.
const checkEvery = time.Second

// answersOthers finds out about a credential that was refused for a payment: good is
// true if the account's control payment is answered with it now, so that whoever
// invents payments does not stop the account. One look-up at a time does so for an
// account; busy is true for the others.
func (w *Worker) answersOthers(ctx context.Context, t task) (good, busy bool) {
	check := w.checks[t.account]
	if check == nil {
		return false, false
	}
	if !check.TryLock() {
		return false, true
	}
	defer check.Unlock()
	control, ok := w.control(ctx, t)
	if !ok {
		return false, false
	}
	_, err := w.ask(ctx, control)
	return answered(err) || errors.Is(err, provider.ErrNotFound), false
}
