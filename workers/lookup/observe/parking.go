package observe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/ask"
	"arauto/workers/budget"
	"arauto/workers/chain"
	"arauto/workers/park"
	"arauto/workers/verdict"
)

// failed parks a task whose question got no answer, or gives it up. waiting is
// what was parked for the payment before, asked the look-up that failed, nil where a
// gate of ours kept it from being made.
func (w *Worker) failed(ctx context.Context, t task, waiting park.Place, cause error, asked *order.FailedLookUp) (string, error) {
	last, err := w.Chains.Last(ctx, t.unit)
	if err != nil {
		return "", err
	}
	if t.superseded(last) {
		switch {
		case t.doubtful: // It is parked as a look-up that is always made: see park.
		case !t.overlapped(last) || w.asksNobody(t):
			if asked != nil {
				w.logFailed(t, *asked, verdict.CauseOf(cause), zap.String("decision", outcomeSuperseded))
			}
			return outcomeSuperseded, nil
		default:
			t = t.onceMore()
		}
	}
	t.refused = t.refused || errors.Is(cause, provider.ErrCredential)
	now := w.Now()
	failure := verdict.Failure{Cause: verdict.CauseOf(cause), At: now, Final: w.final(t, last, cause, now), Slowdown: w.slowdown(t.account)}
	var throttled *ask.ThrottledError
	if errors.As(cause, &throttled) {
		failure.RetryAfter = throttled.After
	}
	var held *verdict.HeldError
	if errors.As(cause, &held) {
		failure.Held = held.Wait
	}
	decision := verdict.Judge(failure, t.budget(), w.Policy, w.Jitter())
	var full error
	if decision.Park {
		full = w.room(ctx, t, last, waiting, failure.Cause)
	}
	t = w.noteFailed(t, asked, failure.Cause, decision, full)
	if !decision.Park {
		return outcomeDead, w.giveUp(ctx, t, record.DeadLetter{
			Class: decision.Class, Cause: cause.Error(), Attempts: decision.Attempts, LastAnswer: string(failure.Cause),
		})
	}
	if full != nil {
		return outcomeDead, w.giveUp(ctx, t, record.DeadLetter{
			Class: verdict.ClassOf(failure.Cause), Cause: fmt.Sprintf("%v: %v", full, cause), Attempts: decision.Attempts,
			LastAnswer: string(failure.Cause), Next: "see what fills " + subject.LookupRetries + ", then redrive: it asks the provider anew",
		})
	}
	return outcomeParked, w.park(ctx, t, decision, failure.Cause)
}

// noteFailed logs a look-up that was made and failed, once, and adds it to those
// that travel with the payment. It returns t as it is where none was made.
func (w *Worker) noteFailed(t task, asked *order.FailedLookUp, class verdict.Cause, d verdict.Decision, full error) task {
	if asked == nil {
		return t
	}
	made := *asked
	made.Class, made.Attempt = string(class), d.Attempts
	if d.Park && full == nil {
		next := d.Due.UTC()
		made.Next = &next
		w.logFailed(t, made, class, zap.String("decision", outcomeParked), zap.Time("next_at", next))
	} else {
		w.logFailed(t, made, class, zap.String("decision", outcomeDead))
	}
	t.failures = order.JoinFailed(t.failedLookUps(), []order.FailedLookUp{made})
	return t
}

// logFailed writes the one warning about a look-up that was made and failed.
func (w *Worker) logFailed(t task, made order.FailedLookUp, class verdict.Cause, more ...zap.Field) {
	w.Log.Warn("lookup.failed", append([]zap.Field{
		zap.String("provider", t.unit.Provider), zap.String("account", t.account), zap.String("payment", t.unit.Payment),
		zap.String("class", string(class)), zap.String("error", made.Error), zap.Int("http_status", made.HTTP),
		zap.Int("attempt", made.Attempt), zap.Int("failed_before", len(t.failedLookUps())), zap.String("traceparent", t.trace),
	}, more...)...)
}

// failedLookUps are those of the payment since its last answer.
func (t task) failedLookUps() []order.FailedLookUp {
	if t.failures == nil && t.fired != nil {
		return t.fired.FailedLookUps
	}
	return t.failures
}

// room is park.ErrFull when a look-up must be given up instead of being parked. Only
// what makes the lot fuller is refused: a look-up that has fired is in it still, and
// so is the one that a fresh notification joins. A payment that the provider does
// not know is refused in any case, so that a lot full of these empties.
func (w *Worker) room(ctx context.Context, t task, last chain.Link, waiting park.Place, cause verdict.Cause) error {
	share := park.RoomForAll
	if class(t, last, waiting) == budget.Known {
		share = park.RoomForKnown
	}
	if (share == park.RoomForKnown || cause != verdict.NotFound) && (t.fired != nil || waiting.Sequence > 0) {
		return nil
	}
	return w.Lot.Room(ctx, share)
}

// budget is what the payment had spent before the look-up in hand.
func (t task) budget() verdict.Budget {
	if t.fired == nil {
		return verdict.Budget{}
	}
	b := verdict.Budget{Fired: !t.fired.Early, Attempts: t.fired.Attempts, NotFound: t.fired.NotFound, Hastened: t.hastened()}
	if t.fired.FirstFailure != nil {
		b.FirstFailure = *t.fired.FirstFailure
	}
	return b
}

// hastened reports whether a look-up for a payment that was unknown to the
// provider came before its time, because a webhook told of it again or an
// operator wished so. What a gate held back is not meant.
func (t task) hastened() bool {
	return t.fired.Early && t.fired.NotFound > 0 &&
		(t.fired.Waits == string(verdict.NotFound) || t.fired.Waits == string(order.CauseOperator))
}

// park stores a look-up that failed. A fresh one never replaces what waits
// already, unless nobody was asked; one that fired takes its place, and is still
// ahead of its retry if it was before. A doubtful notification is parked as the last
// recheck of a series, in place of what waits: as a notification it would end as
// superseded by the answer that it is younger than.
func (w *Worker) park(ctx context.Context, t task, d verdict.Decision, cause verdict.Cause) error {
	p := t.parked()
	p.Waits, p.Attempts, p.DueAt = string(cause), d.Attempts, d.Due.UTC()
	if !d.FirstFailure.IsZero() {
		first := d.FirstFailure.UTC()
		p.FirstFailure = &first
	}
	p.NotFound = d.NotFound
	switch {
	case t.doubtful:
		p.Cause, p.Rechecks = order.CauseRecheck, len(rechecks)
		return w.Lot.Again(ctx, p)
	case t.fired != nil:
		counted := cause == verdict.NotFound && t.hastened() // From here on again.
		p.Rechecks, p.Early = t.fired.Rechecks, d.Free && t.fired.Early && !counted
		return w.Lot.Again(ctx, p)
	case cause == verdict.Credential, cause == verdict.OverBudget, cause == verdict.Circuit:
		return w.Lot.Held(ctx, p)
	}
	return w.Lot.First(ctx, p)
}

// parked is the task as it waits.
func (t task) parked() record.Parked {
	return record.Parked{
		Provider: t.unit.Provider, Account: t.account, Kind: t.target.Kind,
		Payment: t.target.Payment, Order: t.target.Order, Fields: t.target.Fields,
		For: t.stands, Notification: t.notification, NotifiedAt: t.notifiedAt, Trace: t.trace, Cause: t.cause,
		Refused: t.refused, FailedLookUps: t.failedLookUps(),
	}
}

// again is the recheck that follows an answer.
func (t task) again(seen order.Observation, delay time.Duration, number int) record.Parked {
	p := t.parked()
	p.Cause, p.Waits, p.Refused = order.CauseRecheck, string(order.CauseRecheck), false
	p.FailedLookUps = nil // They are in the answer.
	p.For, p.Rechecks, p.DueAt = seen.Covers, number, seen.AnsweredAt.Add(delay)
	return p
}
