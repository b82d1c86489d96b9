package lookup

import (
	"context"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// original is the message that a task's dead letter is about. For a notification's
// look-up it is the notification, however often the look-up was scheduled. For any
// other it is the look-up itself, because the payment may have further ones that fail.
func (t task) original() (stream string, sequence uint64) {
	if t.cause == order.CauseNotification && t.covers > 0 {
		return subject.Notifications, t.covers
	}
	return t.stream, t.sequence
}

// deadLetterCovered dead-letters a look-up. A notification that the look-up covers only
// since it was made (see covering) gets a scheduled look-up of its own, unless a dead
// letter covers it.
func (w *Worker) deadLetterCovered(ctx context.Context, t task, l record.DeadLetter) error {
	reported, err := w.DeadLetters.Reported(ctx, t.unit, record.StageLookup)
	if err != nil {
		return err
	}
	if t.fired != nil && t.covers > max(t.fired.Covers, reported.Covers) {
		rest := t.scheduled()
		rest.Cause, rest.Reason, rest.DueAt = order.CauseNotification, l.LastAnswer, w.Now().Add(w.Policy.Wait(w.Policy.NotFound[0])).UTC()
		if err := w.Retries.Schedule(ctx, rest); err != nil {
			return err
		}
		t.covers = t.fired.Covers
	}
	l.Covers = t.covers
	return w.putDeadLetter(ctx, t, reported.IDs, l)
}

// deadLetter dead-letters a task, unless that was done already. It fills in what the
// dead letter says of the task.
func (w *Worker) deadLetter(ctx context.Context, t task, l record.DeadLetter) error {
	reported, err := w.DeadLetters.Reported(ctx, t.unit, record.StageLookup)
	if err != nil {
		return err
	}
	return w.putDeadLetter(ctx, t, reported.IDs, l)
}

// putDeadLetter is deadLetter for a caller that has read which ids are dead-lettered
// already.
func (w *Worker) putDeadLetter(ctx context.Context, t task, reported map[string]bool, l record.DeadLetter) error {
	l.Stream, l.Sequence = t.original()
	l.ID = deadletter.ID(l.Stream, l.Sequence)
	if reported[l.ID] {
		return nil
	}
	l.Stage, l.Provider, l.Account = record.StageLookup, t.unit.Provider, t.account
	l.Kind, l.Payment, l.Order = t.target.Kind, t.target.Payment, t.target.Order
	l.FailedLookUps = t.failedLookUps()
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
