package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
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
	outcomeForgotten  = "forgotten" // An operator has erased the payment: what is said of it is dropped for an hour.
	outcomeRedundant  = "redundant" // An optional look-up that another look-up made redundant.
)

// errStoreFailed causes a redelivery without a look-up.
var errStoreFailed = errors.New("no look-up is made: the last answer, or the dead letter, could not be stored")

// storePause is how long a worker makes no look-ups after STATUSES refused an answer, and none
// of a message whose dead letter DEAD_LETTERS refused. A guess: only an operator frees a full
// stream, and answers are lost until then.
const storePause = 30 * time.Second

// store appends an answer. The recheck that follows it is scheduled first, so that a
// crash in between loses nothing; what was scheduled before is cancelled last.
func (w *Worker) store(ctx context.Context, t *task, s stored, seen order.Observation, newest observations.Notification) (string, error) {
	seen.FailedLookUps = order.JoinFailed(s.scheduled.Parked.FailedLookUps, t.FailedLookUps)
	seen.Confirmed, seen.Covers = true, max(newest.Sequence, s.last.Covers(), t.Covers)
	delay, number, follows := recheck(*t, s.last.Observation, seen)
	next := t.asRecheck(number)
	next.Reason, next.Covers, next.DueAt = string(order.CauseRecheck), seen.Covers, seen.AnsweredAt.Add(w.setup().Policy.Wait(delay))
	next.FailedLookUps = nil // The observation records the failed look-ups.
	var parked retry.Entry
	if follows {
		var err error
		if parked, err = w.Retries.ScheduleOver(ctx, s.scheduled, retry.Recheck, next); err != nil {
			return "", err
		}
	}
	_, err := w.Observations.Append(ctx, t.unit, s.last, seen, t.Trace)
	if refused := new(jetstream.APIError); errors.As(err, &refused) {
		// Each redelivery of the message would add one more recheck. A recheck that covers a
		// later notification by now is kept.
		w.pausedUntil.Store(w.Now().Add(storePause).UnixNano())
		if parked.Parked.Covers == seen.Covers {
			w.cancel(ctx, parked)
		}
	}
	if err != nil {
		return "", err
	}
	if t.seen = seen; !follows && !stillNeeded(s, seen) {
		w.cancel(ctx, s.scheduled)
	}
	return outcomeObserved, nil
}

// cancel cancels a scheduled look-up. A failure is not retried: the look-up is then
// delivered, and superseded or made once too often.
func (w *Worker) cancel(ctx context.Context, scheduled retry.Entry) {
	if err := w.Retries.Cancel(ctx, scheduled); err != nil {
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
	return order.Observation{
		Provider: t.Provider, Account: t.Account, Kind: cmp.Or(fact.Kind, t.Kind),
		Payment: t.Payment, Order: cmp.Or(fact.Order, t.Order), ProviderReference: fact.ProviderReference,
		Status: fact.Status, ProviderStatus: fact.ProviderStatus, Reason: fact.Reason,
		Amount: fact.Amount, OccurredAt: fact.OccurredAt,
		Cause: t.Cause, AskedAt: asked.UTC(), AnsweredAt: answered.UTC(),
		Notification: t.Notification, NotifiedAt: t.NotifiedAt, NotificationsCreated: t.NotificationsCreated,
	}
}

// join makes the scheduled look-up cover a fresh notification too. A payment that is
// unknown to the provider is looked up as soon as after the first time, because the
// provider may know it by now.
func (w *Worker) join(ctx context.Context, t *task, s stored) error {
	p := t.ScheduledLookUp
	p.Reason, p.DueAt = s.scheduled.Parked.Reason, s.scheduled.Parked.DueAt
	if p.Reason == string(record.NotFound) {
		soon := s.scheduled.At.Add(w.setup().Policy.WaitNotFound(1, w.setup().answers[t.Account].slowdown()))
		if now := w.Now(); soon.Before(now) {
			soon = now
		}
		p.NotFound, p.DueAt = 1, soon.UTC()
	}
	_, err := w.Retries.ScheduleOver(ctx, s.scheduled, retry.Deferred, p)
	return err
}

// failed schedules a task whose look-up got no fact, or dead-letters it. request is the
// failed request to the provider, nil if a limit kept it from being sent.
func (w *Worker) failed(ctx context.Context, t *task, s stored, cause error, request *order.FailedLookUp) (outcome string, err error) {
	now, kind := w.Now(), verdict.FailureOf(cause)
	if request != nil { // The request took its time.
		if s.last, err = w.Observations.Last(ctx, t.unit); err != nil {
			return "", err
		}
		switch decision := decide(*t, stored{last: s.last}, now); decision {
		case superseded, redundant, forgotten:
			w.noteFailed(t, request, kind, string(decision))
			return string(decision), nil
		case askAgain:
			t.makeRecheck(stored{})
		case ask, join:
		}
	}
	if kind == record.NotFound && t.Cause == order.CauseExpectation && t.Covers <= s.last.Covers() {
		return outcomeScheduled, w.expectAgain(ctx, t, s, request)
	}
	failure := verdict.Failure{Kind: kind, At: now, Final: w.final(*t, s.last, cause, now), Slowdown: w.setup().answers[t.Account].slowdown()}
	var throttled *providerhttp.ThrottledError
	if errors.As(cause, &throttled) {
		failure.RetryAfter = throttled.After
	}
	var deferred *verdict.DeferredError
	if errors.As(cause, &deferred) {
		failure.Deferred = deferred.Wait
	}
	d := verdict.Judge(failure, t.attempts(), w.setup().Policy, w.Jitter())
	letter := record.DeadLetter{Class: d.Class, Cause: cause.Error(), Attempts: d.Attempts, LastAnswer: string(kind)}
	if full := w.checkLimit(ctx, *t, s.last, s.scheduled, kind); d.Retry && full != nil {
		d.Retry, letter.Class, letter.Cause = false, verdict.ClassOf(kind), fmt.Sprintf("%v: %v", full, cause)
		letter.Next = "see what fills " + subject.LookupRetries + ", then redrive: it looks the payment up again"
	}
	if outcome = outcomeDead; d.Retry {
		outcome = outcomeScheduled
	}
	if request != nil {
		if request.Attempt = d.Attempts; d.Retry {
			due := d.Due.UTC()
			request.Next = &due
		}
		w.noteFailed(t, request, kind, outcome)
	}
	if d.Retry {
		return outcome, w.reschedule(ctx, t, s, d, kind)
	}
	return outcome, w.deadLetterCovered(ctx, t, letter)
}

// expectedWait is the wait after the provider did not know an expected payment. The role
// expect brings the look-up forward, or cancels it after the deadline; without that role the
// payment is still looked up.
const expectedWait = time.Hour

// expectAgain schedules the look-up of an expected payment that the provider does not know
// yet, which is no failure: it spends no attempt and has no dead letter. The failed look-up
// stays in the list, where the role expect reads when the provider was asked. Earlier ones of
// its kind are dropped: an expectation of 72 bytes had 3.2 kB on LOOKUP_RETRIES, which has no
// bound.
func (w *Worker) expectAgain(ctx context.Context, t *task, s stored, request *order.FailedLookUp) error {
	p := t.ScheduledLookUp
	p.Reason, p.NotFound, p.Expedited, p.DueAt = string(order.CauseExpectation), 0, false, w.Now().Add(w.setup().Policy.Wait(expectedWait)).UTC()
	if request != nil {
		request.Next = &p.DueAt
		t.FailedLookUps = slices.DeleteFunc(slices.Clone(t.FailedLookUps), func(f order.FailedLookUp) bool {
			return f.Class == string(record.NotFound)
		})
		w.noteFailed(t, request, record.NotFound, outcomeScheduled)
		p.FailedLookUps = t.FailedLookUps
	}
	_, err := w.Retries.ScheduleOver(ctx, s.scheduled, retry.Expected, p)
	return err
}

// noteFailed logs a failed request and adds it to the task's list.
func (w *Worker) noteFailed(t *task, request *order.FailedLookUp, class record.Failure, outcome string) {
	request.Class = string(class)
	w.Log.Warn("lookup.failed",
		zap.String("provider", t.unit.Provider), zap.String("account", t.Account), zap.String("payment", t.unit.Payment),
		zap.String("class", request.Class), zap.String("error", request.Error), zap.Int("http_status", request.HTTP),
		zap.Int("attempt", request.Attempt), zap.Int("failed_before", len(t.FailedLookUps)), zap.String("traceparent", t.Trace),
		zap.String("decision", outcome), zap.Timep("next_at", request.Next))
	t.FailedLookUps = order.JoinFailed(t.FailedLookUps, []order.FailedLookUp{*request})
}

// checkLimit returns retry.ErrFull if a look-up must be dead-lettered instead of scheduled.
// A look-up that replaces a scheduled one takes no further bytes, and is refused only if the
// provider does not know the payment, so that a store full of invented payments empties.
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
	_, err := w.Retries.ScheduleOver(ctx, s.scheduled, as, p)
	return err
}

// deadLetterCovered dead-letters a look-up. A notification that the look-up covers only
// since it was made (see admit) gets a scheduled look-up of its own, unless a dead letter
// covers it.
func (w *Worker) deadLetterCovered(ctx context.Context, t *task, l record.DeadLetter) error {
	reported, err := w.DeadLetters.Reported(ctx, t.unit, record.StageLookup)
	if err != nil {
		return err
	}
	if !t.fresh && t.Covers > max(t.delivered, reported.Covers) {
		rest := t.asRecheck(0)
		rest.Cause, rest.Reason, rest.DueAt = order.CauseNotification, l.LastAnswer, w.Now().Add(w.setup().Policy.Wait(w.setup().Policy.NotFound[0])).UTC()
		if err := w.Retries.Schedule(ctx, retry.Fresh, rest); err != nil {
			return err
		}
		t.Covers = t.delivered
	}
	l.Covers = t.Covers
	return w.putDeadLetter(ctx, t, reported.IDs, l)
}

// putDeadLetter dead-letters a task, unless its id is among the reported ones. The dead
// letter is about the notification, however often its look-up was scheduled. Of any other
// cause it is about the look-up itself, because the payment may have further ones that fail.
func (w *Worker) putDeadLetter(ctx context.Context, t *task, reported map[string]bool, l record.DeadLetter) error {
	if l.Stream, l.Sequence = t.stream, t.sequence; t.Cause == order.CauseNotification && t.Covers > 0 {
		l.Stream, l.Sequence = subject.Notifications, t.Covers
	}
	l.ID = deadletter.ID(l.Stream, l.Sequence)
	if reported[l.ID] {
		return nil
	}
	l.Stage, l.Provider, l.Account = record.StageLookup, t.Provider, t.Account
	l.Kind, l.Payment, l.Order = t.Kind, t.Payment, t.Order
	l.FailedLookUps = t.FailedLookUps
	if l.At = w.Now().UTC(); l.Next == "" {
		l.Next = nextSteps[l.Class]
	}
	err := w.DeadLetters.Put(ctx, t.unit, l, t.message(), deadletter.SameID(l.ID))
	if refused := new(jetstream.APIError); errors.As(err, &refused) {
		w.unstored.Add(t.message(), w.Now().Add(storePause))
	}
	return err
}

// message names the message that is handled.
func (t *task) message() string { return deadletter.ID(t.stream, t.sequence) }

// nextSteps say what to do about a dead letter, by the classes that look-ups end in.
var nextSteps = map[record.Class]string{
	record.ClassOurs:     "mend our configuration or code, then redrive",
	record.ClassProvider: "when the provider answers again, redrive: it looks the payment up again",
	record.ClassData:     "ask the merchant what this payment is; redrive looks the payment up again",
}
