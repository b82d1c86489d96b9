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

// failed schedules a task whose look-up got no fact, or dead-letters it. before is what
// was scheduled for the payment. request is the failed request to the provider, nil if
// a limit kept it from being sent.
func (w *Worker) failed(ctx context.Context, t task, before retry.Entry, cause error, request *order.FailedLookUp) (string, error) {
	last, err := w.Observations.Last(ctx, t.unit)
	if err != nil {
		return "", err
	}
	if t.superseded(last) {
		switch {
		case t.coverOlder: // It is scheduled as a recheck, which is made in any case: see reschedule.
		case !t.mayHaveLostSuccessor(last) || w.makesNoRequest(t):
			if request != nil {
				w.logFailed(t, *request, verdict.FailureOf(cause), zap.String("decision", outcomeSuperseded))
			}
			return outcomeSuperseded, nil
		default:
			t = t.asLastRecheck()
		}
	}
	t.refused = t.refused || errors.Is(cause, provider.ErrCredential)
	now := w.Now()
	failure := verdict.Failure{Kind: verdict.FailureOf(cause), At: now, Final: w.final(t, last, cause, now), Slowdown: w.slowdown(t.account)}
	var throttled *providerhttp.ThrottledError
	if errors.As(cause, &throttled) {
		failure.RetryAfter = throttled.After
	}
	var deferred *verdict.DeferredError
	if errors.As(cause, &deferred) {
		failure.Deferred = deferred.Wait
	}
	decision := verdict.Judge(failure, t.attempts(), w.Policy, w.Jitter())
	var full error
	if decision.Retry {
		full = w.checkLimit(ctx, t, last, before, failure.Kind)
	}
	t = w.noteFailed(t, request, failure.Kind, decision, full)
	if !decision.Retry {
		return outcomeDead, w.deadLetterCovered(ctx, t, record.DeadLetter{
			Class: decision.Class, Cause: cause.Error(), Attempts: decision.Attempts, LastAnswer: string(failure.Kind),
		})
	}
	if full != nil {
		return outcomeDead, w.deadLetterCovered(ctx, t, record.DeadLetter{
			Class: verdict.ClassOf(failure.Kind), Cause: fmt.Sprintf("%v: %v", full, cause), Attempts: decision.Attempts,
			LastAnswer: string(failure.Kind), Next: "see what fills " + subject.LookupRetries + ", then redrive: it looks the payment up again",
		})
	}
	return outcomeScheduled, w.reschedule(ctx, t, decision, failure.Kind)
}

// noteFailed logs a failed request once and returns t with the request. Without a request
// it returns t unchanged.
func (w *Worker) noteFailed(t task, request *order.FailedLookUp, class record.Failure, d verdict.Decision, full error) task {
	if request == nil {
		return t
	}
	noted := *request
	noted.Class, noted.Attempt = string(class), d.Attempts
	if d.Retry && full == nil {
		next := d.Due.UTC()
		noted.Next = &next
		w.logFailed(t, noted, class, zap.String("decision", outcomeScheduled), zap.Time("next_at", next))
	} else {
		w.logFailed(t, noted, class, zap.String("decision", outcomeDead))
	}
	t.failures = order.JoinFailed(t.failedLookUps(), []order.FailedLookUp{noted})
	return t
}

// logFailed writes the one warning about a failed look-up.
func (w *Worker) logFailed(t task, made order.FailedLookUp, class record.Failure, more ...zap.Field) {
	w.Log.Warn("lookup.failed", append([]zap.Field{
		zap.String("provider", t.unit.Provider), zap.String("account", t.account), zap.String("payment", t.unit.Payment),
		zap.String("class", string(class)), zap.String("error", made.Error), zap.Int("http_status", made.HTTP),
		zap.Int("attempt", made.Attempt), zap.Int("failed_before", len(t.failedLookUps())), zap.String("traceparent", t.trace),
	}, more...)...)
}

// failedLookUps are the payment's failed look-ups since its last answer.
func (t task) failedLookUps() []order.FailedLookUp {
	if t.failures == nil && t.fired != nil {
		return t.fired.FailedLookUps
	}
	return t.failures
}

// checkLimit returns retry.ErrFull if a look-up must be dead-lettered instead of scheduled.
// A look-up that replaces a scheduled one takes no further bytes, and is refused only if
// the provider does not know the payment: so a store that is full of invented payments
// empties.
func (w *Worker) checkLimit(ctx context.Context, t task, last observations.Entry, before retry.Entry, cause record.Failure) error {
	share := retry.LimitForAll
	if classOf(t, last, before) == ratelimit.Known {
		share = retry.LimitForKnown
	}
	if (share == retry.LimitForKnown || cause != record.NotFound) && (t.fired != nil || before.Sequence > 0) {
		return nil
	}
	return w.Retries.CheckLimit(ctx, share)
}

// attempts is what the payment had spent before this look-up.
func (t task) attempts() verdict.Attempts {
	if t.fired == nil {
		return verdict.Attempts{}
	}
	b := verdict.Attempts{Fired: !t.fired.Expedited, Attempts: t.fired.Attempts, NotFound: t.fired.NotFound, Expedited: t.expedited()}
	if t.fired.FirstFailure != nil {
		b.FirstFailure = *t.fired.FirstFailure
	}
	return b
}

// expedited reports whether a look-up of a payment unknown to the provider was brought
// forward by another webhook or an operator. A look-up that a limit deferred was not.
func (t task) expedited() bool {
	return t.fired.Expedited && t.fired.NotFound > 0 &&
		(t.fired.Reason == string(record.NotFound) || t.fired.Reason == string(order.CauseOperator))
}

// reschedule schedules a failed look-up. A fresh look-up keeps the due time of what is
// scheduled, unless no request was made; a due look-up replaces it. A notification that an
// older answer covers becomes the last recheck of a series, because as a notification it
// would end as superseded.
func (w *Worker) reschedule(ctx context.Context, t task, d verdict.Decision, cause record.Failure) error {
	p := t.scheduled()
	p.Reason, p.Attempts, p.DueAt = string(cause), d.Attempts, d.Due.UTC()
	if !d.FirstFailure.IsZero() {
		first := d.FirstFailure.UTC()
		p.FirstFailure = &first
	}
	p.NotFound = d.NotFound
	switch {
	case t.coverOlder:
		p.Cause, p.Rechecks = order.CauseRecheck, len(rechecks)
		return w.Retries.Reschedule(ctx, p)
	case t.fired != nil:
		counted := cause == record.NotFound && t.expedited() // The look-up was made, so later ones count again.
		p.Rechecks, p.Expedited = t.fired.Rechecks, d.Free && t.fired.Expedited && !counted
		return w.Retries.Reschedule(ctx, p)
	case cause == record.Credential, cause == record.RateLimited, cause == record.Stopped:
		return w.Retries.ScheduleUnasked(ctx, p)
	}
	return w.Retries.Schedule(ctx, p)
}

// scheduled returns the task as a look-up to schedule.
func (t task) scheduled() record.ScheduledLookUp {
	return record.ScheduledLookUp{
		Provider: t.unit.Provider, Account: t.account, Kind: t.target.Kind,
		Payment: t.target.Payment, Order: t.target.Order, Fields: t.target.Fields,
		Covers: t.covers, Notification: t.notification, NotifiedAt: t.notifiedAt, Trace: t.trace, Cause: t.cause,
		Refused: t.refused, FailedLookUps: t.failedLookUps(), NotificationsCreated: t.created,
	}
}

// recheckOf returns the recheck that follows an answer.
func (t task) recheckOf(seen order.Observation, delay time.Duration, number int) record.ScheduledLookUp {
	p := t.scheduled()
	p.Cause, p.Reason, p.Refused = order.CauseRecheck, string(order.CauseRecheck), false
	p.FailedLookUps = nil // The observation records the failed look-ups.
	p.Covers, p.Rechecks, p.DueAt = seen.Covers, number, seen.AnsweredAt.Add(delay)
	return p
}
