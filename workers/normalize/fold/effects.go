package fold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
)

// scheduleRecheck schedules the look-up that an answer which contradicts the log needs.
// at is when the observation was stored. It is scheduled before the message is acked,
// so that a crash does not lose it.
func (w *Worker) scheduleRecheck(ctx context.Context, seen order.Observation, at, due time.Time, outcome order.Outcome, trace string) error {
	if !seen.Confirmed || due.IsZero() {
		return nil
	}
	// The leaders of two streams may have different clocks. If that of LOOKUP_RETRIES is
	// ahead, a due time in its past would be delivered at once, over and over.
	if now := w.Clock.Now(); !due.After(now) {
		due = now.Add(due.Sub(at))
	}
	p := record.ScheduledLookUp{
		Provider: seen.Provider, Account: seen.Account, Kind: seen.Kind,
		Payment: seen.Payment, Order: seen.Order,
		Covers: seen.Covers, NotificationsCreated: seen.NotificationsCreated,
		Notification: seen.Notification, NotifiedAt: seen.NotifiedAt, Trace: trace,
		Cause: order.CauseConfirmation, Reason: string(order.CauseConfirmation), DueAt: due.UTC(),
	}
	if outcome != order.Unconfirmed { // The fold counts these look-ups, so lookup must not add rechecks.
		p.Cause, p.Reason, p.Rechecks = order.CauseRecheck, string(order.CauseRecheck), record.MaxRechecks
	}
	return w.Retries.Schedule(ctx, retry.Confirmation, p)
}

// report stores the dead letter of an observation that contradicts the log: once per
// payment, provider's word and refunded sum, until it is redriven or resolved. Dead
// letters of a payment are stored in order, so the observations up to the last one's
// are reported.
func (w *Worker) report(ctx context.Context, u subject.Unit, at *position, seen order.Observation, raw *jetstream.RawStreamMsg, after order.Standing) error {
	deadLetter := w.newDeadLetter(seen, raw)
	if seen.Status == "" {
		deadLetter.Class = record.ClassProvider
		deadLetter.Cause = fmt.Sprintf("unknown provider word %q", seen.ProviderStatus)
		deadLetter.Next = "add the word to the provider's vocabulary, then redrive"
	} else {
		deadLetter.Insists = &record.Insists{
			Status: seen.Status, Published: at.standing.Status, PublishedRefunded: at.standing.Refunded, Since: after.Doubted().UTC(),
		}
		if seen.Amount != nil {
			deadLetter.Insists.Refunded = seen.Amount.Refunded
		}
		deadLetter.Cause = fmt.Sprintf("provider word %q (%s, %s%s) cannot follow %s, %s%s",
			seen.ProviderStatus, seen.Kind, seen.Status, refunds(seen.Amount), at.standing.Kind, at.standing.Status, refunds(&order.Amount{Refunded: at.standing.Refunded}))
		deadLetter.Next = "compare with the provider's panel; if the payment really moved, tell the merchant"
		if at.standing.OtherMoney(seen) {
			deadLetter.Cause = fmt.Sprintf("the answer (%s) is about another amount or currency than the payment's own", seen.ProviderStatus)
			deadLetter.Next = "compare the amount with the provider's panel and the merchant's order before anything is shipped"
		}
	}
	deadLetters, err := w.DeadLetters.LatestOf(ctx, u, record.StageNormalize)
	if err != nil {
		return err
	}
	for _, l := range deadLetters {
		same := l.ProviderStatus == deadLetter.ProviderStatus && l.Class == deadLetter.Class && contradiction(l.Insists) == contradiction(deadLetter.Insists)
		if same && (l.State == record.Open || l.State == record.Discarded) {
			return nil
		}
	}
	return w.put(ctx, u, deadLetter, raw)
}

// contradiction is what a provider insists on, and against what, without when it began.
// The zero value means no contradiction.
func contradiction(i *record.Insists) record.Insists {
	if i == nil {
		return record.Insists{}
	}
	what := *i
	what.Since = time.Time{}
	return what
}

// newDeadLetter returns the fields that every dead letter about an observation has.
func (w *Worker) newDeadLetter(seen order.Observation, raw *jetstream.RawStreamMsg) record.DeadLetter {
	return record.DeadLetter{
		ID: deadletter.ID(subject.Statuses, raw.Sequence), Class: record.ClassData, Stage: record.StageNormalize,
		Provider: seen.Provider, Account: seen.Account, Kind: seen.Kind, Payment: seen.Payment, Order: seen.Order,
		LastAnswer: "answered", Stream: subject.Statuses, Sequence: raw.Sequence,
		Observation: raw.Sequence, ProviderStatus: seen.ProviderStatus, At: w.Now().UTC(),
	}
}

// resolve closes the payment's open dead letters about contradictions, because an
// observation agrees with the log again. The marks cover every observation up to that
// one, so that folding them again reports nothing.
func (w *Worker) resolve(ctx context.Context, u subject.Unit, agreeing uint64) error {
	deadLetters, err := w.DeadLetters.LatestOf(ctx, u, record.StageNormalize)
	if err != nil {
		return err
	}
	for _, l := range deadLetters {
		same := record.SameIncarnation(l.Created[subject.Statuses], stream.Incarnation(w.statuses.CachedInfo()))
		if l.Insists == nil || l.State != record.Open || same && l.Observation > agreeing {
			continue // An older answer that is folded again closes no dead letter of a later contradiction.
		}
		if same {
			l.ReportedUpTo = agreeing
		}
		err := w.DeadLetters.Mark(ctx, l, record.Resolved, record.StageNormalize, w.Now())
		if err != nil && !errors.Is(err, deadletter.ErrNotOpen) && !errors.Is(err, deadletter.ErrFailedAgain) {
			return err
		}
	}
	return nil
}

// maxCorrections is how many corrections of a payment lead to a dead letter too. A
// guess: a provider that contradicts itself so often is wrong in one of its words.
const maxCorrections = 3

// countCorrections stores a dead letter if the correction that is about to be published
// is at least the third of the payment. Corrections whose events were compacted do not
// count.
func (w *Worker) countCorrections(ctx context.Context, u subject.Unit, at *position, seen order.Observation, raw *jetstream.RawStreamMsg) error {
	number := 1
	err := w.events(ctx, u, at.event, func(e order.Event) {
		if e.Correction {
			number++
		}
	})
	if err != nil {
		return fmt.Errorf("count corrections: %w", err)
	}
	if number < maxCorrections {
		return nil
	}
	deadLetter := w.newDeadLetter(seen, raw)
	deadLetter.Cause = fmt.Sprintf("correction %d of the payment: from %s to %s", number, at.standing.Status, seen.Status)
	deadLetter.Next = "the events say what the provider says now; ask the provider which of its words is true"
	return w.put(ctx, u, deadLetter, raw)
}

// refunds is what a dead letter says of a refunded sum, in minor units: nothing for 0.
func refunds(a *order.Amount) string {
	if a == nil || a.Refunded == 0 {
		return ""
	}
	return fmt.Sprintf(" with %d refunded", a.Refunded)
}

// put stores a dead letter about an observation unless it is reported already.
func (w *Worker) put(ctx context.Context, u subject.Unit, deadLetter record.DeadLetter, raw *jetstream.RawStreamMsg) error {
	return w.DeadLetters.Put(ctx, u, deadLetter, deadLetter.ID, func(last deadletter.Entry) bool {
		return last.Reported() >= raw.Sequence
	})
}

// deadLetterUnreadable stores the dead letter of an observation that does not decode,
// so that the payment's later ones are not blocked.
func (w *Worker) deadLetterUnreadable(ctx context.Context, u subject.Unit, raw *jetstream.RawStreamMsg) error {
	w.Log.Error("observation.decode_failed", zap.String("unit", u.String()), zap.Uint64("sequence", raw.Sequence))
	return w.put(ctx, u, record.DeadLetter{
		ID: deadletter.ID(subject.Statuses, raw.Sequence), Class: record.ClassOurs, Stage: record.StageNormalize,
		Provider: u.Provider, Account: u.Account, Payment: u.Payment,
		Cause: "stored observation does not decode", LastAnswer: record.NoAnswer,
		Stream: subject.Statuses, Sequence: raw.Sequence, Observation: raw.Sequence,
		Next: "compare the versions of lookup and of this worker", At: w.Now().UTC(),
	}, raw)
}
