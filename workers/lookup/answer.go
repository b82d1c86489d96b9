package lookup

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
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

// answered reports whether a look-up gave a fact. One with an unknown word is a fact:
// the word is kept, and normalize stores its dead letter.
func answered(err error) bool {
	var unknown *provider.UnknownWordError
	return err == nil || errors.As(err, &unknown)
}

// write appends an answer. The recheck that follows it is scheduled first, so that a
// crash in between loses nothing; what was scheduled before is cancelled last.
func (w *Worker) write(ctx context.Context, t task, last observations.Entry, scheduled retry.Entry, seen order.Observation) (string, order.Observation, error) {
	delay, number, follows := recheck(t, last.Observation, seen)
	next := t.recheckOf(seen, w.Policy.Wait(delay), number)
	if follows {
		if err := w.Retries.ScheduleRecheck(ctx, next); err != nil {
			return "", seen, err
		}
	}
	if _, err := w.Observations.Append(ctx, t.unit, last, seen, t.trace); err != nil {
		if w.storeFailure.note(err, w.Now()) && follows {
			w.cancelRecheck(ctx, next)
		}
		return "", seen, err
	}
	if !follows && !stillNeeded(scheduled, last.Observation, seen) {
		// A look-up that is delivered all the same is superseded, so Cancel is not retried.
		if err := w.Retries.Cancel(ctx, scheduled); err != nil {
			w.Log.Warn("retry.cancel_failed", zap.Error(err))
		}
	}
	return outcomeObserved, seen, nil
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
func stillNeeded(scheduled retry.Entry, before, seen order.Observation) bool {
	return scheduled.Parked.Cause == order.CauseRecheck && seen.SameWord(before) && !seen.Kind.Final(seen.Status)
}

// observation returns an answer as it will be stored.
func (t task) observation(fact order.Fact, asked, answered time.Time) order.Observation {
	o := order.Observation{
		Provider: t.unit.Provider, Account: t.account, Kind: fact.Kind,
		Payment: t.target.Payment, Order: fact.Order, ProviderReference: fact.ProviderReference,
		Status: fact.Status, ProviderStatus: fact.ProviderStatus, Reason: fact.Reason,
		Amount: fact.Amount, OccurredAt: fact.OccurredAt,
		Cause: t.cause, AskedAt: asked.UTC(), AnsweredAt: answered.UTC(),
		Notification: t.notification, NotifiedAt: t.notifiedAt, NotificationsCreated: t.created,
	}
	if o.Order == "" {
		o.Order = t.target.Order
	}
	if o.Kind == "" {
		o.Kind = t.target.Kind
	}
	return o
}
