package lookup

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/providerhttp"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
	"arauto/workers/internal/verdict"
)

// The outcomes of a handled message.
const (
	outcomeObserved   = "observed"
	outcomeSuperseded = "superseded"
	outcomeScheduled  = "scheduled"
	outcomeDead       = "dead_letter"
	outcomeRedundant  = "redundant" // A sweep's or an operator's look-up that another look-up made redundant.
)

// errStoreFailed causes a redelivery without a look-up.
var errStoreFailed = errors.New("no look-up is made: the last answer could not be stored")

// storePause is how long a worker makes no look-ups after STATUSES refused an answer. A
// guess: only an operator frees a full stream, and answers are lost until then.
const storePause = 30 * time.Second

// storeFailure remembers that STATUSES refused an answer. The zero value means that it
// did not.
type storeFailure struct{ until atomic.Int64 } // Nanoseconds since 1970.

// recent reports whether an answer was refused less than storePause ago.
func (r *storeFailure) recent(now time.Time) bool { return now.UnixNano() < r.until.Load() }

// note remembers an error from appending an answer, and reports whether the stream
// refused it. Without the stream's response, the answer may be stored.
func (r *storeFailure) note(err error, now time.Time) bool {
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		return false // For example stream.ErrConflict.
	}
	r.until.Store(now.Add(storePause).UnixNano())
	return true
}

// store appends an answer. The recheck that follows it is scheduled first, so that a
// crash in between loses nothing; what was scheduled before is cancelled last.
func (w *Worker) store(ctx context.Context, t *task, s stored, seen order.Observation, newest observations.Notification) (string, error) {
	seen.FailedLookUps = order.JoinFailed(s.scheduled.Parked.FailedLookUps, t.FailedLookUps)
	seen.Confirmed, seen.Covers = true, max(newest.Sequence, s.last.Covers(), t.Covers)
	delay, number, follows := recheck(*t, s.last.Observation, seen)
	next := t.asRecheck(number)
	next.Reason, next.Covers, next.DueAt = string(order.CauseRecheck), seen.Covers, seen.AnsweredAt.Add(w.Policy.Wait(delay))
	next.FailedLookUps = nil // The observation records the failed look-ups.
	if follows {
		if err := w.Retries.ScheduleOver(ctx, s.scheduled, retry.Recheck, next); err != nil {
			return "", err
		}
	}
	if _, err := w.Observations.Append(ctx, t.unit, s.last, seen, t.Trace); err != nil {
		if w.storeFailure.note(err, w.Now()) && follows {
			w.cancelRecheck(ctx, next)
		}
		return "", err
	}
	if t.seen = seen; !follows && !stillNeeded(s, seen) {
		// A look-up that is delivered all the same is superseded, so Cancel is not retried.
		if err := w.Retries.Cancel(ctx, s.scheduled); err != nil {
			w.Log.Warn("retry.cancel_failed", zap.Error(err))
		}
	}
	return outcomeObserved, nil
}

// cancelRecheck cancels the recheck of an answer that was refused: the message is
// redelivered and looked up again, and each time would add one more recheck. A recheck
// that covers a later notification by now is kept.
func (w *Worker) cancelRecheck(ctx context.Context, recheck record.ScheduledLookUp) {
	entry, err := w.Retries.Read(ctx, recheck.Provider, recheck.Account, recheck.Payment)
	if p := entry.Parked; err == nil && p.Cause == recheck.Cause && p.Covers == recheck.Covers && p.DueAt.Equal(recheck.DueAt) {
		err = w.Retries.Cancel(ctx, entry)
	}
	if err != nil {
		w.Log.Warn("retry.cancel_failed", zap.Error(err))
	}
}

// stillNeeded reports whether a scheduled recheck is still needed: the answer says
// nothing new, and the provider's read side may still lag the recheck's notification.
func stillNeeded(s stored, seen order.Observation) bool {
	return s.scheduled.Parked.Cause == order.CauseRecheck && seen.SameWord(s.last.Observation) && !seen.Kind.Final(seen.Status)
}

// observation returns an answer as it will be stored.
func (t task) observation(fact order.Fact, asked, answered time.Time) order.Observation {
	o := order.Observation{
		Provider: t.Provider, Account: t.Account, Kind: fact.Kind,
		Payment: t.Payment, Order: fact.Order, ProviderReference: fact.ProviderReference,
		Status: fact.Status, ProviderStatus: fact.ProviderStatus, Reason: fact.Reason,
		Amount: fact.Amount, OccurredAt: fact.OccurredAt,
		Cause: t.Cause, AskedAt: asked.UTC(), AnsweredAt: answered.UTC(),
		Notification: t.Notification, NotifiedAt: t.NotifiedAt, NotificationsCreated: t.NotificationsCreated,
	}
	if o.Order == "" {
		o.Order = t.Order
	}
	if o.Kind == "" {
		o.Kind = t.Kind
	}
	return o
}

// join makes the scheduled look-up cover a fresh notification too. A payment that is
// unknown to the provider is looked up as soon as after the first time, because the
// provider may know it by now.
func (w *Worker) join(ctx context.Context, t *task, s stored) error {
	p := t.ScheduledLookUp
	p.Reason, p.DueAt = s.scheduled.Parked.Reason, s.scheduled.Parked.DueAt
	if p.Reason == string(record.NotFound) {
		p.NotFound = 1
		soon := s.scheduled.At.Add(w.Policy.WaitNotFound(1, w.slowdown(t.Account)))
		if now := w.Now(); soon.Before(now) {
			soon = now
		}
		if soon.Before(p.DueAt) {
			p.DueAt = soon.UTC()
		}
	}
	return w.Retries.ScheduleOver(ctx, s.scheduled, retry.Deferred, p)
}

// failed schedules a task whose look-up got no fact, or dead-letters it. request is the
// failed request to the provider, nil if a limit kept it from being sent.
func (w *Worker) failed(ctx context.Context, t *task, s stored, cause error, request *order.FailedLookUp) (string, error) {
	last, err := w.Observations.Last(ctx, t.unit)
	if err != nil {
		return "", err
	}
	now, kind := w.Now(), verdict.FailureOf(cause)
	switch decision := decide(*t, stored{last: last}, now); decision {
	case superseded, redundant:
		w.noteFailed(t, request, kind, string(decision))
		return string(decision), nil
	case askAgain:
		t.makeRecheck(stored{})
	case ask, join:
	}
	failure := verdict.Failure{Kind: kind, At: now, Final: w.final(*t, last, cause, now), Slowdown: w.slowdown(t.Account)}
	var throttled *providerhttp.ThrottledError
	if errors.As(cause, &throttled) {
		failure.RetryAfter = throttled.After
	}
	var deferred *verdict.DeferredError
	if errors.As(cause, &deferred) {
		failure.Deferred = deferred.Wait
	}
	d := verdict.Judge(failure, t.attempts(), w.Policy, w.Jitter())
	letter := record.DeadLetter{Class: d.Class, Cause: cause.Error(), Attempts: d.Attempts, LastAnswer: string(kind)}
	if d.Retry {
		if full := w.checkLimit(ctx, *t, last, s.scheduled, kind); full != nil {
			d.Retry, letter.Class, letter.Cause = false, verdict.ClassOf(kind), fmt.Sprintf("%v: %v", full, cause)
			letter.Next = "see what fills " + subject.LookupRetries + ", then redrive: it looks the payment up again"
		}
	}
	if request != nil {
		request.Attempt = d.Attempts
	}
	if !d.Retry {
		w.noteFailed(t, request, kind, outcomeDead)
		return outcomeDead, w.deadLetterCovered(ctx, t, letter)
	}
	due := d.Due.UTC()
	if request != nil {
		request.Next = &due
	}
	w.noteFailed(t, request, kind, outcomeScheduled)
	return outcomeScheduled, w.reschedule(ctx, t, s, d, kind)
}

// noteFailed logs a failed request and adds it to the task's list. It does nothing without a
// request.
func (w *Worker) noteFailed(t *task, request *order.FailedLookUp, class record.Failure, decision string) {
	if request == nil {
		return
	}
	request.Class = string(class)
	w.Log.Warn("lookup.failed",
		zap.String("provider", t.unit.Provider), zap.String("account", t.Account), zap.String("payment", t.unit.Payment),
		zap.String("class", request.Class), zap.String("error", request.Error), zap.Int("http_status", request.HTTP),
		zap.Int("attempt", request.Attempt), zap.Int("failed_before", len(t.FailedLookUps)), zap.String("traceparent", t.Trace),
		zap.String("decision", decision), zap.Timep("next_at", request.Next))
	t.FailedLookUps = order.JoinFailed(t.FailedLookUps, []order.FailedLookUp{*request})
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
	if (share == retry.LimitForKnown || cause != record.NotFound) && (!t.fresh || before.Sequence > 0) {
		return nil
	}
	return w.Retries.CheckLimit(ctx, share)
}

// attempts is what the payment had spent before this look-up.
func (t task) attempts() verdict.Attempts {
	b := verdict.Attempts{Fired: !t.fresh && !t.Expedited, Attempts: t.Attempts, NotFound: t.NotFound, Expedited: t.expedited()}
	if t.FirstFailure != nil {
		b.FirstFailure = *t.FirstFailure
	}
	return b
}

// expedited reports whether a look-up of a payment unknown to the provider was brought
// forward by another webhook or an operator. A look-up that a limit deferred was not.
func (t task) expedited() bool {
	return t.Expedited && t.NotFound > 0 &&
		(t.Reason == string(record.NotFound) || t.Reason == string(order.CauseOperator))
}

// reschedule schedules a failed look-up by a verdict. A fresh look-up that was not made is
// deferred, so that its failure spends nothing.
func (w *Worker) reschedule(ctx context.Context, t *task, s stored, d verdict.Decision, cause record.Failure) error {
	p, as := t.ScheduledLookUp, retry.Retry
	p.Reason, p.Attempts, p.NotFound, p.DueAt = string(cause), d.Attempts, d.NotFound, d.Due.UTC()
	if !d.FirstFailure.IsZero() {
		first := d.FirstFailure.UTC()
		p.FirstFailure = &first
	}
	counted := cause == record.NotFound && t.expedited() // The look-up was made, so later ones count again.
	p.Expedited = d.Free && t.Expedited && !counted
	switch {
	case !t.fresh:
	case cause == record.Credential, cause == record.RateLimited, cause == record.Stopped:
		as = retry.Deferred
	default:
		as = retry.Fresh
	}
	return w.Retries.ScheduleOver(ctx, s.scheduled, as, p)
}
