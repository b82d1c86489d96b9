package fold

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
)

// scheduleRecheck parks the next look-up about an answer that contradicts the log and was
// stored at a time, due by the broker's clock. It is parked before the message is
// acknowledged, so it cannot be forgotten.
func (w *Worker) scheduleRecheck(ctx context.Context, seen order.Observation, at, due time.Time, outcome order.Outcome, trace string) error {
	if !seen.Confirmed || due.IsZero() {
		return nil
	}
	// The leaders of two streams may have different clocks. Where that of the schedules
	// is ahead, a due time that has passed for it would fire at once, again and again.
	if now := w.Clock.Now(); !due.After(now) {
		due = now.Add(due.Sub(at))
	}
	p := record.ScheduledLookUp{
		Provider: seen.Provider, Account: seen.Account, Kind: seen.Kind,
		Payment: seen.Payment, Order: seen.Order,
		Covers: seen.Covers, Notification: seen.Notification, NotifiedAt: seen.NotifiedAt, Trace: trace,
		Cause: order.CauseConfirmation, Reason: string(order.CauseConfirmation), DueAt: due.UTC(),
	}
	if outcome != order.Unconfirmed { // The fold counts these looks, lookup adds none.
		p.Cause, p.Reason, p.Rechecks = order.CauseRecheck, string(order.CauseRecheck), record.MaxRechecks
	}
	return w.Retries.ScheduleConfirmation(ctx, p)
}

// report stores a dead letter about an observation that the log cannot take:
// once per payment, word and sum, until the letter is redriven or resolved. Letters
// of one payment are written in order: the last one names its observation, and
// what lies at or below it is reported already.
func (w *Worker) report(ctx context.Context, u subject.Unit, at *position, seen order.Observation, raw *jetstream.RawStreamMsg, after order.Standing) error {
	letter := w.newDeadLetter(seen, raw)
	if seen.Status == "" {
		letter.Class = record.ClassProvider
		letter.Cause = fmt.Sprintf("unknown provider word %q", seen.ProviderStatus)
		letter.Next = "add the word to the provider's vocabulary, then redrive"
	} else {
		letter.Insists = &record.Insists{
			Status: seen.Status, Published: at.standing.Status, PublishedRefunded: at.standing.Refunded, Since: after.Doubted().UTC(),
		}
		if seen.Amount != nil {
			letter.Insists.Refunded = seen.Amount.Refunded
		}
		letter.Cause = fmt.Sprintf("provider word %q (%s, %s%s) cannot follow %s, %s%s",
			seen.ProviderStatus, seen.Kind, seen.Status, refunds(seen.Amount), at.standing.Kind, at.standing.Status, refunds(&order.Amount{Refunded: at.standing.Refunded}))
		letter.Next = "compare with the provider's panel; if the payment really moved, tell the merchant"
		if at.standing.OtherMoney(seen) {
			letter.Cause = fmt.Sprintf("the answer (%s) is about another amount or currency than the payment's own", seen.ProviderStatus)
			letter.Next = "compare the amount with the provider's panel and the merchant's order before anything is shipped"
		}
	}
	letters, err := w.DeadLetters.Latest(ctx, u.DeadLetter(subject.Any, record.StageNormalize))
	if err != nil {
		return err
	}
	for _, l := range letters {
		same := l.ProviderStatus == letter.ProviderStatus && l.Class == letter.Class && contradiction(l.Insists) == contradiction(letter.Insists)
		if same && (l.State == record.Open || l.State == record.Discarded) {
			return nil
		}
	}
	return w.put(ctx, u, letter, raw)
}

// contradiction is what a provider insists on and against what, whenever it began;
// the zero value where it is no contradiction.
func contradiction(i *record.Insists) record.Insists {
	if i == nil {
		return record.Insists{}
	}
	what := *i
	what.Since = time.Time{}
	return what
}

// newDeadLetter is what every letter about an observation says.
func (w *Worker) newDeadLetter(seen order.Observation, raw *jetstream.RawStreamMsg) record.DeadLetter {
	return record.DeadLetter{
		ID: deadletter.ID(subject.Statuses, raw.Sequence), Class: record.ClassData, Stage: record.StageNormalize,
		Provider: seen.Provider, Account: seen.Account, Kind: seen.Kind, Payment: seen.Payment, Order: seen.Order,
		LastAnswer: "answered", Stream: subject.Statuses, Sequence: raw.Sequence,
		Observation: raw.Sequence, ProviderStatus: seen.ProviderStatus, At: w.Now().UTC(),
	}
}

// resolve closes the payment's open letters about contradictions: with an agreeing
// observation the provider takes back what it said before. The mark covers
// everything up to that observation, so that folding it again reports nothing.
func (w *Worker) resolve(ctx context.Context, u subject.Unit, agreeing uint64) error {
	letters, err := w.DeadLetters.Latest(ctx, u.DeadLetter(subject.Any, record.StageNormalize))
	if err != nil {
		return err
	}
	for _, l := range letters {
		if l.Insists == nil || l.State != record.Open || l.Observation > agreeing {
			continue // A later contradiction's letter stays open when an older answer is folded again.
		}
		l.ReportedUpTo = agreeing
		err := w.DeadLetters.Mark(ctx, l, record.Resolved, record.StageNormalize, w.Now())
		if err != nil && !errors.Is(err, deadletter.ErrNotOpen) && !errors.Is(err, deadletter.ErrFailedAgain) {
			return err
		}
	}
	return nil
}

// maxCorrections is the number of a payment's correction that opens a letter too.
const maxCorrections = 3

// countCorrections stores a dead letter about a correction that is about to be
// announced when the payment has had so many that its events alone are not to be
// relied on. Corrections whose events were compacted do not count.
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
	letter := w.newDeadLetter(seen, raw)
	letter.Cause = fmt.Sprintf("correction %d of the payment: from %s to %s", number, at.standing.Status, seen.Status)
	letter.Next = "the events say what the provider says now; ask the provider which of its words is true"
	return w.put(ctx, u, letter, raw)
}

// refunds is what a letter says of a refunded sum, in minor units: nothing where
// there is none.
func refunds(a *order.Amount) string {
	if a == nil || a.Refunded == 0 {
		return ""
	}
	return fmt.Sprintf(" with %d refunded", a.Refunded)
}

// put stores a letter about an observation unless that is reported already. One
// that is older than the observation, by the broker's clock, cannot be about it:
// a letter too many does no harm.
func (w *Worker) put(ctx context.Context, u subject.Unit, letter record.DeadLetter, raw *jetstream.RawStreamMsg) error {
	return w.DeadLetters.Put(ctx, u, letter, letter.ID, func(last deadletter.Entry) bool {
		return last.Reported() >= raw.Sequence && !observations.StoredAfter(raw.Time, last.StoredAt)
	})
}

// deadLetterUnreadable stores a dead letter about a stored observation that does not decode,
// so that it cannot hold up the payment's later ones.
func (w *Worker) deadLetterUnreadable(ctx context.Context, u subject.Unit, raw *jetstream.RawStreamMsg) error {
	w.Log.Error("stored observation does not decode", zap.String("unit", u.String()), zap.Uint64("sequence", raw.Sequence))
	return w.put(ctx, u, record.DeadLetter{
		ID: deadletter.ID(subject.Statuses, raw.Sequence), Class: record.ClassOurs, Stage: record.StageNormalize,
		Provider: u.Provider, Account: u.Account, Payment: u.Payment,
		Cause: "stored observation does not decode", LastAnswer: record.NoAnswer,
		Stream: subject.Statuses, Sequence: raw.Sequence, Observation: raw.Sequence,
		Next: "compare the versions of lookup and of this worker", At: w.Now().UTC(),
	}, raw)
}
