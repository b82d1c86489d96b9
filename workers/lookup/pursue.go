package lookup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/panics"
	"arauto/workers/internal/providerhttp"
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

// maxConflicts bounds how often one message is looked up again after a conflict. A
// guess: each conflict means that another look-up of the payment succeeded.
const maxConflicts = 5

// errConflict causes a redelivery after too many conflicts.
var errConflict = errors.New("other workers keep observing the payment")

// lookUp looks up a task's payment until an answer is written, an answer of another
// look-up covers the task, or the task is scheduled or dead-lettered.
func (w *Worker) lookUp(ctx context.Context, t task) (string, order.Observation, error) {
	for race := range maxConflicts {
		last, err := w.Observations.Last(ctx, t.unit)
		if err != nil {
			return "", order.Observation{}, err
		}
		if t.superseded(last) {
			t.coverOlder, err = w.checkCoverage(ctx, t, last)
			switch {
			case err != nil:
				return "", order.Observation{}, err
			case t.coverOlder: // Look it up, although an answer covers it.
			case t.mayHaveLostSuccessor(last) && !w.makesNoRequest(t):
				t = t.asLastRecheck()
			default:
				return outcomeSuperseded, order.Observation{}, nil
			}
		}
		if race > 0 && t.redundant(last) {
			return outcomeRedundant, last.Observation, nil
		}
		outcome, seen, err := w.lookUpOnce(ctx, t, last)
		if !errors.Is(err, stream.ErrConflict) {
			return outcome, seen, err
		}
		w.Metrics.countConflict(w.Provider.Name)
	}
	return "", order.Observation{}, errConflict
}

// mayHaveLostSuccessor reports whether an answer that covers a due look-up was stored
// after its due time. Then the look-up is made again, because the recheck of that
// answer may be lost:
//  1. The answer's recheck replaces the due schedule on the payment's subject.
//  2. The broker stores the due look-up and purges that subject, the recheck included
//     (nats-server 2.15.3, server/stream.go, processJetStreamMsgWithRollup;
//     measured with 30,000 due at once: 676 of 952 replaced ones were lost).
//
// Before this may go, check that the broker purges only the schedule that it has fired.
func (t task) mayHaveLostSuccessor(last observations.Entry) bool {
	if t.fired == nil || last.Observation.Notification == t.notification {
		return false // For example its own answer: the ack was lost.
	}
	return last.Stored.After(t.fired.DueAt)
}

// asLastRecheck returns the task as the last recheck of a series, without spent attempts:
// those of t were spent for a notification that is answered.
func (t task) asLastRecheck() task {
	fired := *t.fired
	fired.Attempts, fired.NotFound, fired.FirstFailure = 0, 0, nil
	fired.Cause, fired.Rechecks = order.CauseRecheck, len(rechecks)
	t.cause, t.fired, t.refused = order.CauseRecheck, &fired, false
	return t
}

// redundant reports whether the answer of another look-up suffices for a look-up of sweep
// or an operator. If t replaced a scheduled look-up, it covers a notification too, which
// must be answered first.
func (t task) redundant(last observations.Entry) bool {
	return (t.cause == order.CauseSweep || t.cause == order.CauseOperator) && t.covers <= last.Covers()
}

// skew is how far the broker's timestamps of two streams may differ: their leaders can
// be on different servers. A guess, far above the skew of synchronized clocks.
const skew = 10 * time.Second

// checkCoverage is called before a covered task ends without a look-up. older reports
// that the answer which covers its notification is older than the notification, by the
// broker's clock: the clock was set back, or NOTIFICATIONS has lost its end, which keeps
// its creation time, and counts the same sequences again. Then a look-up is right in both
// cases. It is fatal if NOTIFICATIONS was recreated, or has not reached what the answer
// covers.
func (w *Worker) checkCoverage(ctx context.Context, t task, last observations.Entry) (older bool, err error) {
	err = w.Observations.CheckCovers(ctx, last.Covers())
	if errors.Is(err, observations.ErrRecreated) {
		err = &consume.Fatal{Err: err}
	}
	if err != nil || !t.stored.After(last.Stored.Add(skew)) {
		return false, err
	}
	w.Log.Warn("coverage.contradicted",
		zap.String("unit", t.unit.String()), zap.Uint64("sequence", t.covers), zap.Uint64("covers", last.Covers()))
	return true, nil
}

// lookUpOnce makes one look-up and appends the answer behind last. After stream.ErrConflict
// the task must be decided again.
func (w *Worker) lookUpOnce(ctx context.Context, t task, last observations.Entry) (string, order.Observation, error) {
	// First the scheduled look-up, then the newest notification: so an answer that
	// cancels the former covers what that was to cover.
	scheduled, err := w.Retries.Read(ctx, t.unit.Provider, t.account, t.target.Payment)
	if err != nil {
		return "", order.Observation{}, err
	}
	scheduled.Parked = scheduled.Parked.On(t.created)
	if scheduled.Unreadable {
		w.Log.Error("retry.decode_failed",
			zap.String("unit", t.unit.String()), zap.Uint64("sequence", scheduled.Sequence))
	}
	if !t.coverOlder && !w.shouldAskNow(t, scheduled) {
		return outcomeScheduled, order.Observation{}, w.extendCoverage(ctx, t, scheduled)
	}
	if queued, err := w.deferRateLimited(ctx, t, last, scheduled); queued || err != nil {
		return outcomeScheduled, order.Observation{}, err
	}
	newest, err := w.newestCovered(ctx, t, last, scheduled)
	if err != nil {
		return "", order.Observation{}, err
	}
	if newest.NeedsLookUp {
		t = t.covering(newest.Sequence, last)
	}
	if w.storeFailure.recent(w.Now()) {
		return "", order.Observation{}, errStoreFailed
	}
	class := classOf(t, last, scheduled)
	p, err := w.acquire(ctx, t, class)
	if err == nil {
		p, err = w.probe(ctx, t, class, p)
	}
	var deferred *verdict.DeferredError
	if errors.As(err, &deferred) {
		outcome, err := w.failed(ctx, t, scheduled, deferred, nil)
		return outcome, order.Observation{}, err
	}
	if err != nil {
		return "", order.Observation{}, err
	}
	defer p.release()
	askedAt := w.Now()
	fact, err := w.ask(ctx, t)
	err = w.reportResult(ctx, t, p, scheduled, err)
	if errors.Is(err, provider.ErrNoLookUp) && t.cause == order.CauseNotification {
		return w.trustPayload(ctx, t)
	}
	if !answered(err) {
		if ctx.Err() != nil {
			return "", order.Observation{}, ctx.Err()
		}
		outcome, err := w.failed(ctx, t, scheduled, err, &order.FailedLookUp{At: askedAt.UTC(), Error: err.Error(), HTTP: providerhttp.StatusOf(err)})
		return outcome, order.Observation{}, err
	}
	seen := t.observation(fact, askedAt, w.Now())
	seen.FailedLookUps = order.JoinFailed(scheduled.Parked.FailedLookUps, t.failedLookUps())
	seen.Confirmed, seen.Covers = true, max(newest.Sequence, last.Covers(), t.covers)
	return w.write(ctx, t, last, scheduled, seen)
}

// newestCovered is the newest notification that an answer from now on covers. To return an
// older one is safe and costs a look-up. So the broker is not asked for a payment's first
// notification when no message was pending behind it.
func (w *Worker) newestCovered(ctx context.Context, t task, last observations.Entry, scheduled retry.Entry) (observations.Notification, error) {
	if t.noPending && last.Sequence == 0 && scheduled.Sequence == 0 {
		return observations.Notification{Sequence: t.covers, NeedsLookUp: true}, nil
	}
	newest, err := w.Observations.LastNotification(ctx, t.unit)
	if err == nil && newest.Sequence < scheduled.Parked.Covers { // That notification may have been purged.
		newest = observations.Notification{Sequence: scheduled.Parked.Covers, NeedsLookUp: true}
	}
	return newest, err
}

// covering returns a scheduled look-up that covers every notification stored before it
// is made: what was scheduled for a later one may be lost, see mayHaveLostSuccessor.
// The reconcile test found such losses.
func (t task) covering(newest uint64, last observations.Entry) task {
	if t.fired != nil && newest > max(t.covers, last.Covers()) {
		t.covers = newest
	}
	return t
}

// ask sends the look-up and counts its result.
func (w *Worker) ask(ctx context.Context, t task) (order.Fact, error) {
	if w.Provider.Ask == nil {
		return order.Fact{}, provider.ErrNoLookUp
	}
	account, ok := w.Accounts[t.account]
	if !ok {
		return order.Fact{}, fmt.Errorf("account %q has no look-up settings in this worker's configuration", t.account)
	}
	began := w.Now()
	fact, err := w.recovered(ctx, account, t.target)
	if answered(err) {
		if long := tooLong(fact); long != nil {
			err = long
		}
	}
	if errors.Is(err, provider.ErrNoLookUp) || ctx.Err() != nil {
		return fact, err
	}
	result := resultAnswered
	if !answered(err) {
		result = string(verdict.FailureOf(err))
	}
	switch {
	case answered(err):
		w.countAnswer(t.account, knownPayment)
	case errors.Is(err, provider.ErrNotFound):
		w.countAnswer(t.account, unknownPayment)
	}
	w.Metrics.asked(w.Provider.Name, result, w.Now().Sub(began))
	return fact, err
}

// recovered sends the look-up and turns an adapter's panic into an error, which spends
// an attempt; a redelivery would look up again and again.
func (w *Worker) recovered(ctx context.Context, a provider.Account, t provider.Target) (fact order.Fact, err error) {
	err = panics.Try(func() (err error) {
		fact, err = w.Ask.Ask(ctx, w.Provider, a, t)
		return err
	})
	var p *panics.Error
	if errors.As(err, &p) {
		w.Log.Error("adapter.panicked", zap.String("provider", w.Provider.Name), zap.String("stack", p.Stack))
		err = errors.New("adapter panicked") // The panic's value is left out, because it may hold a credential.
	}
	return fact, err
}

// tooLong refuses an answer whose texts, with the known ids, may not fit into a message
// of the broker.
func tooLong(f order.Fact) error {
	for _, text := range []string{f.Order, f.ProviderReference, f.ProviderStatus, f.Reason} {
		if len(text) > subject.MaxID {
			return fmt.Errorf("%w: a text in it has more than %d bytes", provider.ErrUnreadable, subject.MaxID)
		}
	}
	return nil
}
