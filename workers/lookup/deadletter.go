package lookup

import (
	"context"

	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
)

// original is the message that a task's dead letter is about. For a notification's
// look-up it is the notification, however often the look-up was scheduled. For any
// other it is the look-up itself, because the payment may have further ones that fail.
func (t task) original() (stream string, sequence uint64) {
	if t.Cause == order.CauseNotification && t.Covers > 0 {
		return subject.Notifications, t.Covers
	}
	return t.stream, t.sequence
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
		rest.Cause, rest.Reason, rest.DueAt = order.CauseNotification, l.LastAnswer, w.Now().Add(w.Policy.Wait(w.Policy.NotFound[0])).UTC()
		if err := w.Retries.Schedule(ctx, retry.Fresh, rest); err != nil {
			return err
		}
		t.Covers = t.delivered
	}
	l.Covers = t.Covers
	return w.putDeadLetter(ctx, t, reported.IDs, l)
}

// deadLetter dead-letters a task, unless that was done already. It fills in what the
// dead letter says of the task.
func (w *Worker) deadLetter(ctx context.Context, t *task, l record.DeadLetter) error {
	reported, err := w.DeadLetters.Reported(ctx, t.unit, record.StageLookup)
	if err != nil {
		return err
	}
	return w.putDeadLetter(ctx, t, reported.IDs, l)
}

// putDeadLetter is deadLetter for a caller that has read which ids are dead-lettered
// already.
func (w *Worker) putDeadLetter(ctx context.Context, t *task, reported map[string]bool, l record.DeadLetter) error {
	l.Stream, l.Sequence = t.original()
	l.ID = deadletter.ID(l.Stream, l.Sequence)
	if reported[l.ID] {
		return nil
	}
	l.Stage, l.Provider, l.Account = record.StageLookup, t.Provider, t.Account
	l.Kind, l.Payment, l.Order = t.Kind, t.Payment, t.Order
	l.FailedLookUps = t.FailedLookUps
	if l.At = w.Now().UTC(); l.Next == "" {
		l.Next = nextStep(l.Class)
	}
	return w.DeadLetters.Put(ctx, t.unit, l, deadletter.ID(t.stream, t.sequence), deadletter.SameID(l.ID))
}

// nextStep says what to do about a dead letter of a class.
func nextStep(class record.Class) string {
	switch class {
	case record.ClassOurs:
		return "mend our configuration or code, then redrive"
	case record.ClassProvider:
		return "when the provider answers again, redrive: it looks the payment up again"
	case record.ClassData:
		return "ask the merchant what this payment is; redrive looks the payment up again"
	case record.ClassSubscriber:
		return "mend the subscriber, then redrive"
	}
	return "redrive or discard"
}

// deadLetterUnreadable stores the dead letter of a message that does not decode.
func (w *Worker) deadLetterUnreadable(ctx context.Context, stream, on string, sequence uint64) error {
	w.Log.Error("message.decode_failed", zap.String("subject", on), zap.Uint64("sequence", sequence))
	u := subject.Unit{Provider: w.Provider.Name, Account: "unreadable", Payment: "unreadable"}
	id := deadletter.ID(stream, sequence)
	return w.DeadLetters.Put(ctx, u, record.DeadLetter{
		ID: id, Class: record.ClassOurs, Stage: record.StageLookup, Provider: u.Provider, Account: u.Account, Payment: u.Payment,
		Cause: "stored message does not decode", LastAnswer: record.NoAnswer, Stream: stream, Sequence: sequence,
		Next: "compare the versions of the gateway and of this worker", At: w.Now().UTC(),
	}, id, deadletter.SameID(id))
}
