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

// errRefused sends a message back unasked.
var errRefused = errors.New("the provider is not asked: its last answer could not be stored")

// pause is how long a worker asks nobody after an answer was refused. A full
// stream is mended by people, and the answers of that time go nowhere.
const pause = 30 * time.Second

// refusal remembers that the stream refused an answer. The zero refusal means
// that it did not.
type refusal struct{ until atomic.Int64 } // Nanoseconds since 1970.

// recent reports whether an answer was refused a short while ago.
func (r *refusal) recent(now time.Time) bool { return now.UnixNano() < r.until.Load() }

// by takes note of an error from storing an answer, and reports whether it says
// that the answer is not stored and nobody else's is in its place. Without the
// stream's word it may be.
func (r *refusal) by(err error, now time.Time) bool {
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		return false // A lost race, say, see chain.ErrLostRace.
	}
	r.until.Store(now.Add(pause).UnixNano())
	return true
}

// answered reports whether asking gave a fact. A fact with an unknown word is
// one: the word is kept, and normalize puts it where a person sees it.
func answered(err error) bool {
	var unknown *provider.UnknownWordError
	return err == nil || errors.As(err, &unknown)
}

// write stores an answer. What must follow it is parked first, so that a
// crash in between forgets nothing; what was waiting for it goes last.
func (w *Worker) write(ctx context.Context, t task, last observations.Entry, waiting retry.Entry, seen order.Observation) (string, order.Observation, error) {
	delay, number, follows := recheck(t, last.Observation, seen)
	again := t.again(seen, w.Policy.Wait(delay), number)
	if follows {
		if err := w.Retries.ScheduleRecheck(ctx, again); err != nil {
			return "", seen, err
		}
	}
	if _, err := w.Observations.Append(ctx, t.unit, last, seen, t.trace); err != nil {
		if w.refusal.by(err, w.Now()) && follows {
			w.cancelRecheck(ctx, again)
		}
		return "", seen, err
	}
	if !follows && !stillWanted(waiting, last.Observation, seen) {
		// What fires nevertheless is superseded, so this need not be retried.
		if err := w.Retries.Cancel(ctx, waiting); err != nil {
			w.Log.Warn("parked look-up not cancelled, it will find itself superseded")
		}
	}
	return outcomeObserved, seen, nil
}

// cancelRecheck removes the recheck of an answer that was refused: the message in
// hand comes back and asks again, and each turn would leave one more that does.
// One that came to stand for a later notification is no longer only that.
func (w *Worker) cancelRecheck(ctx context.Context, recheck record.ScheduledLookUp) {
	place, err := w.Retries.Read(ctx, recheck.Provider, recheck.Account, recheck.Payment)
	if p := place.Parked; err == nil && p.Cause == recheck.Cause && p.Covers == recheck.Covers && p.DueAt.Equal(recheck.DueAt) {
		err = w.Retries.Cancel(ctx, place)
	}
	if err != nil {
		w.Log.Warn("recheck of an answer that was not stored not taken back, it asks once more", zap.Error(err))
	}
}

// stillWanted reports whether a waiting recheck is still worth its look-up:
// the answer in hand says nothing new, and the provider's read side may still
// lag the notification that the recheck is for.
func stillWanted(waiting retry.Entry, before, seen order.Observation) bool {
	return waiting.Parked.Cause == order.CauseRecheck && seen.SameWord(before) && !seen.Kind.Final(seen.Status)
}

// observation is what an answer says, as it will be stored.
func (t task) observation(fact order.Fact, asked, answered time.Time) order.Observation {
	o := order.Observation{
		Provider: t.unit.Provider, Account: t.account, Kind: fact.Kind,
		Payment: t.target.Payment, Order: fact.Order, ProviderReference: fact.ProviderReference,
		Status: fact.Status, ProviderStatus: fact.ProviderStatus, Reason: fact.Reason,
		Amount: fact.Amount, OccurredAt: fact.OccurredAt,
		Cause: t.cause, AskedAt: asked.UTC(), AnsweredAt: answered.UTC(),
		Notification: t.notification, NotifiedAt: t.notifiedAt,
	}
	if o.Order == "" {
		o.Order = t.target.Order
	}
	if o.Kind == "" {
		o.Kind = t.target.Kind
	}
	return o
}
