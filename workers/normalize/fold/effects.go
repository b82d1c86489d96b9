package fold

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/chain"
	"arauto/workers/deadletter"
)

// confirm parks the look-up that a lone observation of a return edge wants.
// It is parked before the message is acknowledged, so it cannot be forgotten.
// Where nobody can be asked, the provider's next webhook confirms or not. It
// takes the place of a recheck that is parked, and begins that series anew.
func (w *Worker) confirm(ctx context.Context, seen order.Observation, trace string) error {
	if !seen.Confirmed {
		return nil
	}
	return w.Lot.Follow(ctx, record.Parked{
		Provider: seen.Provider, Account: seen.Account, Kind: seen.Kind,
		Payment: seen.Payment, Order: seen.Order,
		For: seen.Covers, Notification: seen.Notification, NotifiedAt: seen.NotifiedAt, Trace: trace,
		Cause: order.CauseConfirmation, Waits: string(order.CauseConfirmation),
		DueAt: w.Now().Add(order.ReturnGap).UTC(),
	})
}

// report stores a dead letter about an observation that the log cannot take.
// Letters of one payment are written in order: the last one names its
// observation, and what lies at or below it is reported already.
func (w *Worker) report(ctx context.Context, u subject.Unit, at *position, seen order.Observation, raw *jetstream.RawStreamMsg, outcome order.Outcome) error {
	sequence := raw.Sequence
	letter := record.DeadLetter{
		ID: deadletter.ID(subject.Statuses, sequence), Class: record.ClassData, Stage: Stage,
		Provider: seen.Provider, Account: seen.Account, Kind: seen.Kind, Payment: seen.Payment, Order: seen.Order,
		LastAnswer: "answered", Stream: subject.Statuses, Sequence: sequence,
		Observation: sequence, ProviderStatus: seen.ProviderStatus, At: w.Now().UTC(),
	}
	if outcome == order.UnknownWord {
		letter.Class = record.ClassProvider
		letter.Cause = fmt.Sprintf("unknown provider word %q", seen.ProviderStatus)
		letter.Next = "add the word to the provider's vocabulary, then redrive"
	} else if at.standing.OtherMoney(seen) {
		letter.Cause = fmt.Sprintf("the answer (%s) is about another amount or currency than the payment's own", seen.ProviderStatus)
		letter.Next = "compare the amount with the provider's panel and the merchant's order before anything is shipped"
	} else {
		letter.Cause = fmt.Sprintf("provider word %q (%s, %s%s) cannot follow %s, %s%s",
			seen.ProviderStatus, seen.Kind, seen.Status, refunds(seen.Amount), at.standing.Kind, at.standing.Status, refunds(&order.Amount{Refunded: at.standing.Refunded}))
		letter.Next = "compare with the provider's panel; if the payment really moved, tell the merchant"
	}
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
	return w.Dead.Put(ctx, u, letter, letter.ID, func(last deadletter.Letter) bool {
		return last.Reported() >= raw.Sequence && !chain.Younger(raw.Time, last.StoredAt)
	})
}

// bury stores a dead letter about a stored observation that does not decode,
// so that it cannot hold up the payment's later ones.
func (w *Worker) bury(ctx context.Context, u subject.Unit, raw *jetstream.RawStreamMsg) error {
	w.Log.Error("stored observation does not decode", zap.String("unit", u.String()), zap.Uint64("sequence", raw.Sequence))
	return w.put(ctx, u, record.DeadLetter{
		ID: deadletter.ID(subject.Statuses, raw.Sequence), Class: record.ClassOurs, Stage: Stage,
		Provider: u.Provider, Account: u.Account, Payment: u.Payment,
		Cause: "stored observation does not decode", LastAnswer: record.NobodyAsked,
		Stream: subject.Statuses, Sequence: raw.Sequence, Observation: raw.Sequence,
		Next: "compare the versions of lookup and of this worker", At: w.Now().UTC(),
	}, raw)
}
