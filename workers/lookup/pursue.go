package lookup

import (
	"context"
	"errors"
	"fmt"

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

// What a handled message came to.
const (
	outcomeObserved   = "observed"
	outcomeSuperseded = "superseded"
	outcomeParked     = "parked"
	outcomeDead       = "dead_letter"
	outcomeOvertaken  = "overtaken" // A sweep or an operator's look-up that somebody else made needless.
)

// maxConflicts bounds how often one message asks anew because the guard refused its
// answer. Each refusal means that another look-up of the payment succeeded.
const maxConflicts = 5

// errConflict sends a message back after too many lost races.
var errConflict = errors.New("others keep observing the payment")

// pursue asks about a task's payment until its answer is written, somebody
// else's answer covers it, or it is parked or given up.
func (w *Worker) pursue(ctx context.Context, t task) (string, order.Observation, error) {
	for race := range maxConflicts {
		last, err := w.Observations.Last(ctx, t.unit)
		if err != nil {
			return "", order.Observation{}, err
		}
		if t.superseded(last) {
			t.doubtful, err = w.contradicted(ctx, t, last)
			switch {
			case err != nil:
				return "", order.Observation{}, err
			case t.doubtful: // It is asked for.
			case t.overlapped(last) && !w.asksNobody(t):
				t = t.withoutCoverage()
			default:
				return w.supersede(ctx, t, last)
			}
		}
		if race > 0 && t.redundant(last) {
			return outcomeOvertaken, last.Observation, nil
		}
		outcome, seen, err := w.attempt(ctx, t, last)
		if !errors.Is(err, stream.ErrConflict) {
			return outcome, seen, err
		}
		w.Metrics.countConflict(w.Provider.Name)
	}
	return "", order.Observation{}, errConflict
}

// overlapped reports whether a look-up that has fired came due while the answer
// that covers it was being written. What that answer led to, a recheck or a
// confirmation, or what an operator summoned, may have taken the place of a
// schedule that the broker was firing already. It then purges the subject,
// whatever is on it by now (seen with nats-server 2.15: with 30,000 due at once,
// 676 of 952 that were replaced meanwhile were gone). The one that fired comes in
// any case, so it asks once more.
func (t task) overlapped(last observations.Entry) bool {
	if t.fired == nil || last.Observation.Notification == t.notification {
		return false // It is its own answer, say: its acknowledgement was lost.
	}
	return last.Stored.After(t.fired.DueAt)
}

// withoutCoverage is the last recheck of a series, which has spent nothing: what t had
// spent was for what is answered.
func (t task) withoutCoverage() task {
	fired := *t.fired
	fired.Attempts, fired.NotFound, fired.FirstFailure = 0, 0, nil
	fired.Cause, fired.Rechecks = order.CauseRecheck, len(rechecks)
	t.cause, t.fired, t.refused = order.CauseRecheck, &fired, false
	return t
}

// redundant reports whether the answer that beat a sweep's or an operator's
// look-up does for it. Where it took the place of a parked look-up it stands
// for that one's notification too, and must not end before that is covered.
func (t task) redundant(last observations.Entry) bool {
	return (t.cause == order.CauseSweep || t.cause == order.CauseOperator) && t.stands <= last.Covers()
}

// supersede lets go of a notification that an answer covers, unless the
// numbers it is judged by began anew.
func (w *Worker) supersede(ctx context.Context, t task, last observations.Entry) (string, order.Observation, error) {
	newest, err := w.Observations.LastNotification(ctx, t.unit)
	if err != nil {
		return "", order.Observation{}, err
	}
	if newest.Sequence < last.Covers() {
		if err := w.Observations.CheckCovers(ctx, last.Covers()); err != nil {
			return "", order.Observation{}, fatalIfRecreated(err)
		}
	}
	return outcomeSuperseded, order.Observation{}, nil
}

// contradicted reports whether the answer that covers a notification is older
// than that, by the broker's clock. A clock that was set back does that, and a
// stream whose numbers began anew. To ask is right for both, and stops nobody,
// unless the stream has not even come as far as the answer says.
func (w *Worker) contradicted(ctx context.Context, t task, last observations.Entry) (bool, error) {
	if !observations.StoredAfter(t.stored, last.Stored) {
		return false, nil
	}
	if err := w.Observations.CheckCovers(ctx, last.Covers()); err != nil {
		return false, fatalIfRecreated(err)
	}
	w.Log.Warn("notification is younger than the answer that covers it, it is asked for: has the broker's clock been set back?",
		zap.String("unit", t.unit.String()), zap.Uint64("sequence", t.stands), zap.Uint64("covers", last.Covers()))
	return true, nil
}

func fatalIfRecreated(err error) error {
	if errors.Is(err, observations.ErrRecreated) {
		return &consume.Fatal{Err: err}
	}
	return err
}

// attempt asks and writes the answer behind last. chain.ErrLostRace means that
// it must be judged anew.
func (w *Worker) attempt(ctx context.Context, t task, last observations.Entry) (string, order.Observation, error) {
	// In this order: whatever waiting stands for is then among the newest, so
	// that an answer which cancels it also covers it.
	waiting, err := w.Retries.Read(ctx, t.unit.Provider, t.account, t.target.Payment)
	if err != nil {
		return "", order.Observation{}, err
	}
	if waiting.Unreadable {
		w.Log.Error("parked look-up does not decode, it is replaced",
			zap.String("unit", t.unit.String()), zap.Uint64("sequence", waiting.Sequence))
	}
	if !t.doubtful && !w.addsCoverage(t, waiting) {
		return outcomeParked, order.Observation{}, w.extendCoverage(ctx, t, waiting)
	}
	if queued, err := w.queue(ctx, t, last, waiting); queued || err != nil {
		return outcomeParked, order.Observation{}, err
	}
	newest, err := w.notified(ctx, t, last, waiting)
	if err != nil {
		return "", order.Observation{}, err
	}
	if newest.Asks {
		t = t.covering(newest.Sequence, last)
	}
	if w.refusal.recent(w.Now()) {
		return "", order.Observation{}, errRefused
	}
	urgency := class(t, last, waiting)
	l, err := w.acquire(ctx, t, urgency)
	if err == nil {
		l, err = w.probe(ctx, t, urgency, l)
	}
	var held *verdict.HeldError
	if errors.As(err, &held) {
		outcome, err := w.failed(ctx, t, waiting, held, nil)
		return outcome, order.Observation{}, err
	}
	if err != nil {
		return "", order.Observation{}, err
	}
	defer l.release()
	asked := w.Now()
	fact, err := w.ask(ctx, t)
	err = w.release(ctx, t, l, waiting, err)
	if errors.Is(err, provider.ErrNoLookUp) && t.cause == order.CauseNotification {
		return w.trustPayload(ctx, t)
	}
	if !answered(err) {
		if ctx.Err() != nil {
			return "", order.Observation{}, ctx.Err()
		}
		outcome, err := w.failed(ctx, t, waiting, err, &order.FailedLookUp{At: asked.UTC(), Error: err.Error(), HTTP: providerhttp.StatusOf(err)})
		return outcome, order.Observation{}, err
	}
	seen := t.observation(fact, asked, w.Now())
	seen.FailedLookUps = order.JoinFailed(waiting.Parked.FailedLookUps, t.failedLookUps())
	seen.Confirmed, seen.Covers = true, max(newest.Sequence, last.Covers(), t.stands)
	return w.write(ctx, t, last, waiting, seen)
}

// notified is the newest notification that an answer to a question put now
// covers. To name a lower one is safe and costs a look-up, so for the first
// notification of a payment, behind which nothing waits, nobody is asked. The
// second of a burst asks, and covers the rest.
func (w *Worker) notified(ctx context.Context, t task, last observations.Entry, waiting retry.Entry) (observations.Notification, error) {
	if t.newest && last.Sequence == 0 && waiting.Sequence == 0 {
		return observations.Notification{Sequence: t.stands, Asks: true}, nil
	}
	newest, err := w.Observations.LastNotification(ctx, t.unit)
	if err == nil && newest.Sequence < waiting.Parked.Covers { // What is finished by waiting may have been purged.
		newest = observations.Notification{Sequence: waiting.Parked.Covers, Asks: true}
	}
	return newest, err
}

// covering lets a look-up that has fired stand for every notification that
// was stored before it asks: what was parked for a later one may be gone, see
// overlapped. The ledger test lost notifications so.
func (t task) covering(newest uint64, last observations.Entry) task {
	if t.fired != nil && newest > max(t.stands, last.Covers()) {
		t.stands = newest
	}
	return t
}

// ask puts the question and counts it.
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

// recovered asks, and turns an adapter's panic into an error of ours: it spends
// the payment's budget, instead of asking the provider at every redelivery.
func (w *Worker) recovered(ctx context.Context, a provider.Account, t provider.Target) (fact order.Fact, err error) {
	err = panics.Try(func() (err error) {
		fact, err = w.Ask.Ask(ctx, w.Provider, a, t)
		return err
	})
	var p *panics.Error
	if errors.As(err, &p) {
		w.Log.Error("adapter panicked", zap.String("provider", w.Provider.Name), zap.String("stack", p.Stack))
		err = errors.New("adapter panicked") // Without the value, which may hold a credential.
	}
	return fact, err
}

// tooLong refuses an answer whose texts would not fit into a message of the
// broker's together with the ids that are known.
func tooLong(f order.Fact) error {
	for _, text := range []string{f.Order, f.ProviderReference, f.ProviderStatus, f.Reason} {
		if len(text) > subject.MaxID {
			return fmt.Errorf("%w: a text in it has more than %d bytes", provider.ErrUnreadable, subject.MaxID)
		}
	}
	return nil
}
