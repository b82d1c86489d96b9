package lookup

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
	"arauto/workers/internal/observations"
	"arauto/workers/internal/providerhttp"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
	"arauto/workers/internal/verdict"
)

// failed parks a task whose question got no answer, or gives it up. waiting is
// what was parked for the payment before, asked the look-up that failed, nil where a
// gate of ours kept it from being made.
func (w *Worker) failed(ctx context.Context, t task, waiting retry.Entry, cause error, asked *order.FailedLookUp) (string, error) {
	last, err := w.Observations.Last(ctx, t.unit)
	if err != nil {
		return "", err
	}
	if t.superseded(last) {
		switch {
		case t.doubtful: // It is parked as a look-up that is always made: see park.
		case !t.overlapped(last) || w.asksNobody(t):
			if asked != nil {
				w.logFailed(t, *asked, verdict.FailureOf(cause), zap.String("decision", outcomeSuperseded))
			}
			return outcomeSuperseded, nil
		default:
			t = t.withoutCoverage()
		}
	}
	t.refused = t.refused || errors.Is(cause, provider.ErrCredential)
	now := w.Now()
	failure := verdict.Failure{Kind: verdict.FailureOf(cause), At: now, Final: w.final(t, last, cause, now), Slowdown: w.slowdown(t.account)}
	var throttled *providerhttp.ThrottledError
	if errors.As(cause, &throttled) {
		failure.RetryAfter = throttled.After
	}
	var held *verdict.HeldError
	if errors.As(cause, &held) {
		failure.Held = held.Wait
	}
	decision := verdict.Judge(failure, t.budget(), w.Policy, w.Jitter())
	var full error
	if decision.Retry {
		full = w.room(ctx, t, last, waiting, failure.Kind)
	}
	t = w.noteFailed(t, asked, failure.Kind, decision, full)
	if !decision.Retry {
		return outcomeDead, w.deadLetterAndCancel(ctx, t, record.DeadLetter{
			Class: decision.Class, Cause: cause.Error(), Attempts: decision.Attempts, LastAnswer: string(failure.Kind),
		})
	}
	if full != nil {
		return outcomeDead, w.deadLetterAndCancel(ctx, t, record.DeadLetter{
			Class: verdict.ClassOf(failure.Kind), Cause: fmt.Sprintf("%v: %v", full, cause), Attempts: decision.Attempts,
			LastAnswer: string(failure.Kind), Next: "see what fills " + subject.LookupRetries + ", then redrive: it asks the provider anew",
		})
	}
	return outcomeParked, w.reschedule(ctx, t, decision, failure.Kind)
}

// noteFailed logs a look-up that was made and failed, once, and adds it to those
// that travel with the payment. It returns t as it is where none was made.
func (w *Worker) noteFailed(t task, asked *order.FailedLookUp, class record.Failure, d verdict.Decision, full error) task {
	if asked == nil {
		return t
	}
	made := *asked
	made.Class, made.Attempt = string(class), d.Attempts
	if d.Retry && full == nil {
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
func (w *Worker) logFailed(t task, made order.FailedLookUp, class record.Failure, more ...zap.Field) {
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
func (w *Worker) room(ctx context.Context, t task, last observations.Entry, waiting retry.Entry, cause record.Failure) error {
	share := retry.RoomForAll
	if class(t, last, waiting) == ratelimit.Known {
		share = retry.RoomForKnown
	}
	if (share == retry.RoomForKnown || cause != record.NotFound) && (t.fired != nil || waiting.Sequence > 0) {
		return nil
	}
	return w.Retries.CheckLimit(ctx, share)
}

// budget is what the payment had spent before the look-up in hand.
func (t task) budget() verdict.Attempts {
	if t.fired == nil {
		return verdict.Attempts{}
	}
	b := verdict.Attempts{Fired: !t.fired.Expedited, Attempts: t.fired.Attempts, NotFound: t.fired.NotFound, Expedited: t.expedited()}
	if t.fired.FirstFailure != nil {
		b.FirstFailure = *t.fired.FirstFailure
	}
	return b
}

// expedited reports whether a look-up for a payment that was unknown to the
// provider came before its time, because a webhook told of it again or an
// operator wished so. What a gate held back is not meant.
func (t task) expedited() bool {
	return t.fired.Expedited && t.fired.NotFound > 0 &&
		(t.fired.Reason == string(record.NotFound) || t.fired.Reason == string(order.CauseOperator))
}

// reschedule stores a look-up that failed. A fresh one never replaces what waits
// already, unless nobody was asked; one that fired takes its place, and is still
// ahead of its retry if it was before. A doubtful notification is parked as the last
// recheck of a series, in place of what waits: as a notification it would end as
// superseded by the answer that it is younger than.
func (w *Worker) reschedule(ctx context.Context, t task, d verdict.Decision, cause record.Failure) error {
	p := t.parked()
	p.Reason, p.Attempts, p.DueAt = string(cause), d.Attempts, d.Due.UTC()
	if !d.FirstFailure.IsZero() {
		first := d.FirstFailure.UTC()
		p.FirstFailure = &first
	}
	p.NotFound = d.NotFound
	switch {
	case t.doubtful:
		p.Cause, p.Rechecks = order.CauseRecheck, len(rechecks)
		return w.Retries.Reschedule(ctx, p)
	case t.fired != nil:
		counted := cause == record.NotFound && t.expedited() // From here on again.
		p.Rechecks, p.Expedited = t.fired.Rechecks, d.Free && t.fired.Expedited && !counted
		return w.Retries.Reschedule(ctx, p)
	case cause == record.Credential, cause == record.RateLimited, cause == record.Stopped:
		return w.Retries.ScheduleUnasked(ctx, p)
	}
	return w.Retries.Schedule(ctx, p)
}

// parked is the task as it waits.
func (t task) parked() record.ScheduledLookUp {
	return record.ScheduledLookUp{
		Provider: t.unit.Provider, Account: t.account, Kind: t.target.Kind,
		Payment: t.target.Payment, Order: t.target.Order, Fields: t.target.Fields,
		Covers: t.stands, Notification: t.notification, NotifiedAt: t.notifiedAt, Trace: t.trace, Cause: t.cause,
		Refused: t.refused, FailedLookUps: t.failedLookUps(),
	}
}

// again is the recheck that follows an answer.
func (t task) again(seen order.Observation, delay time.Duration, number int) record.ScheduledLookUp {
	p := t.parked()
	p.Cause, p.Reason, p.Refused = order.CauseRecheck, string(order.CauseRecheck), false
	p.FailedLookUps = nil // They are in the answer.
	p.Covers, p.Rechecks, p.DueAt = seen.Covers, number, seen.AnsweredAt.Add(delay)
	return p
}
