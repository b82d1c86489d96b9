package lookup

import (
	"context"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/observations"
)

// hasNoLookUp reports whether a notification is about a payment that its provider, or the
// provider for this account, cannot be asked for.
func (w *Worker) hasNoLookUp(t *task) bool {
	account, known := w.setup().Accounts[t.Account]
	return t.Cause == order.CauseNotification && (w.Provider.Ask == nil || known && w.makesNoRequestOf(*t, account))
}

// trustPayload stores what an authenticated webhook's payload says, for a provider
// without a look-up. Each notification is an observation; the payment's earlier ones
// are stored first, in order, so that none is superseded unread.
func (w *Worker) trustPayload(ctx context.Context, t *task) (outcome string, err error) {
	if w.Provider.Payload == nil {
		return outcomeDead, w.deadLetterCovered(ctx, t, record.DeadLetter{
			Class: record.ClassOurs, Cause: provider.ErrNoLookUp.Error(), LastAnswer: record.NoAnswer,
		})
	}
	last, err := w.Observations.Last(ctx, t.unit)
	if err != nil {
		return "", err
	}
	if last.Refuses(t.saidAt(w.Now())) {
		return outcomeForgotten, nil
	}
	if t.superseded(last) {
		if older, err := w.checkCoverage(ctx, t, last); err != nil || !older {
			return outcomeSuperseded, err
		}
	}
	for above := last.Covers(); ; {
		next, ok, err := w.Observations.NextNotification(ctx, t.unit, above)
		if err != nil {
			return "", err
		}
		own := *t // It has its notification's contents, which may have been purged since it was delivered.
		if ok && next.Sequence <= t.Covers {
			own.ScheduledLookUp, own.unknownType = lookUpFor(next.Notification, next.Sequence), next.Notification.Unknown
			own.NotificationsCreated = t.NotificationsCreated
		}
		own.stream, own.sequence, above = subject.Notifications, own.Covers, own.Covers
		outcome, err := w.readPayload(ctx, &own, &last)
		if err != nil || own.Covers == t.Covers {
			t.seen = own.seen
			return outcome, err
		}
	}
}

// readPayload appends one notification's payload behind last and moves last to it. It
// skips a notification of an unknown type, whose own message stores its dead letter.
func (w *Worker) readPayload(ctx context.Context, t *task, last *observations.Entry) (string, error) {
	if t.unknownType != "" {
		return outcomeDead, nil
	}
	fact, err := w.Provider.Payload(t.target())
	if !answered(err) {
		reported, problem := w.DeadLetters.Reported(ctx, t.unit, record.StageLookup)
		if problem != nil {
			return "", problem
		}
		return outcomeDead, w.putDeadLetter(ctx, t, reported.IDs, record.DeadLetter{
			Class: record.ClassData, Cause: err.Error(), LastAnswer: record.NoAnswer,
		})
	}
	var received time.Time
	if t.NotifiedAt != nil {
		received = *t.NotifiedAt
	}
	t.seen = t.observation(fact, received, received)
	t.seen.Covers = max(t.Covers, last.Covers())
	sequence, err := w.Observations.Append(ctx, t.unit, *last, t.seen, t.Trace)
	if err != nil {
		return "", err
	}
	*last = observations.Entry{Sequence: sequence, Observation: t.seen}
	return outcomeObserved, nil
}
