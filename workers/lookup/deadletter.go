package lookup

import (
	"context"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// original is the message that a task's dead letter is about. A look-up that was
// made for a notification is about that, however often it was parked. Any other
// one is about itself: it may be given up again, long after the notification that
// it also stands for was reported.
func (t task) original() (stream string, sequence uint64) {
	if t.cause == order.CauseNotification && t.stands > 0 {
		return subject.Notifications, t.stands
	}
	return t.stream, t.sequence
}

// deadLetterAndCancel stores that a look-up was given up. What it came to stand for only when
// it asked, see standingFor, was not tried like that: it gets a look-up of its
// own, unless it has been given up before.
func (w *Worker) deadLetterAndCancel(ctx context.Context, t task, l record.DeadLetter) error {
	reported, err := w.DeadLetters.Reported(ctx, t.unit, record.StageLookup)
	if err != nil {
		return err
	}
	if t.fired != nil && t.stands > max(t.fired.Covers, reported.For) {
		rest := t.parked()
		rest.Cause, rest.Reason, rest.DueAt = order.CauseNotification, l.LastAnswer, w.Now().Add(w.Policy.Wait(w.Policy.NotFound[0])).UTC()
		if err := w.Retries.Schedule(ctx, rest); err != nil {
			return err
		}
		t.stands = t.fired.Covers
	}
	l.Covers = t.stands
	return w.putLetter(ctx, t, reported.IDs, l)
}

// deadLetter stores that a task was given up, unless that is reported already.
// Of the letter, what is said of the task itself is filled in.
func (w *Worker) deadLetter(ctx context.Context, t task, l record.DeadLetter) error {
	reported, err := w.DeadLetters.Reported(ctx, t.unit, record.StageLookup)
	if err != nil {
		return err
	}
	return w.putLetter(ctx, t, reported.IDs, l)
}

// putLetter is deadLetter where it is known what is reported.
func (w *Worker) putLetter(ctx context.Context, t task, reported map[string]bool, l record.DeadLetter) error {
	l.Stream, l.Sequence = t.original()
	l.ID = deadletter.ID(l.Stream, l.Sequence)
	if reported[l.ID] {
		return nil
	}
	l.Stage, l.Provider, l.Account = record.StageLookup, t.unit.Provider, t.account
	l.Kind, l.Payment, l.Order = t.target.Kind, t.target.Payment, t.target.Order
	l.FailedLookUps = t.failedLookUps()
	if l.At = w.Now().UTC(); l.Next == "" {
		l.Next = advice(l.Class)
	}
	return w.DeadLetters.Put(ctx, t.unit, l, deadletter.ID(t.stream, t.sequence), deadletter.SameID(l.ID))
}

func advice(class record.Class) string {
	switch class {
	case record.ClassOurs:
		return "mend our configuration or code, then redrive"
	case record.ClassProvider:
		return "when the provider answers again, redrive: it asks anew"
	case record.ClassData:
		return "ask the merchant what this payment is; redrive asks the provider anew"
	case record.ClassSubscriber:
		return "mend the subscriber, then redrive"
	}
	return "redrive or discard"
}
