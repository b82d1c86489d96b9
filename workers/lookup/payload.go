package lookup

import (
	"context"
	"sync"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
)

// trustPayload stores what an authenticated webhook's payload says, for a provider
// without a look-up. Each notification is an observation; the payment's earlier ones
// are stored first, in order, so that none is superseded unread.
func (w *Worker) trustPayload(ctx context.Context, t task) (string, order.Observation, error) {
	if w.Provider.Payload == nil {
		err := w.deadLetter(ctx, t, record.DeadLetter{
			Class: record.ClassOurs, Cause: provider.ErrNoLookUp.Error(), LastAnswer: record.NoAnswer,
		})
		return outcomeDead, order.Observation{}, err
	}
	last, err := w.Observations.Last(ctx, t.unit)
	if err != nil {
		return "", order.Observation{}, err
	}
	if t.superseded(last) {
		older, err := w.checkCoverage(ctx, t, last)
		if err != nil || !older {
			return outcomeSuperseded, order.Observation{}, err
		}
	}
	reported := sync.OnceValues(func() (deadletter.Reports, error) { return w.DeadLetters.Reported(ctx, t.unit, record.StageLookup) })
	for above := last.Covers(); ; {
		stored, ok, err := w.Observations.NextNotification(ctx, t.unit, above)
		if err != nil {
			return "", order.Observation{}, err
		}
		if !ok || stored.Sequence > t.covers {
			// The notification was purged since it was delivered; the task has its
			// contents.
			stored = observations.Stored{Sequence: t.covers, Notification: t.asNotification()}
		}
		above = stored.Sequence
		outcome, seen, err := w.readPayload(ctx, t, stored, &last, reported)
		if err != nil || stored.Sequence == t.covers {
			return outcome, seen, err
		}
	}
}

// readPayload appends one notification's payload behind last and moves last to it. It
// skips a notification of an unknown type, whose own message stores its dead letter.
func (w *Worker) readPayload(ctx context.Context, t task, s observations.Stored, last *observations.Entry,
	reported func() (deadletter.Reports, error)) (string, order.Observation, error) {
	n := s.Notification
	if n.Unknown != "" {
		return outcomeDead, order.Observation{}, nil
	}
	own := t
	own.target = provider.Target{Kind: n.Kind, Payment: n.Payment, Order: n.Order, Fields: n.Fields}
	own.trace, own.notification, own.notifiedAt, own.covers = n.Trace, n.ID, &n.ReceivedAt, s.Sequence
	own.stream, own.sequence = subject.Notifications, s.Sequence
	fact, err := w.Provider.Payload(own.target)
	if !answered(err) {
		before, problem := reported()
		if problem != nil {
			return "", order.Observation{}, problem
		}
		return outcomeDead, order.Observation{}, w.putDeadLetter(ctx, own, before.IDs, record.DeadLetter{
			Class: record.ClassData, Cause: err.Error(), LastAnswer: record.NoAnswer,
		})
	}
	seen := own.observation(fact, n.ReceivedAt, n.ReceivedAt)
	seen.Covers = max(s.Sequence, last.Covers())
	sequence, err := w.Observations.Append(ctx, t.unit, *last, seen, own.trace)
	if err != nil {
		return "", seen, err
	}
	*last = observations.Entry{Sequence: sequence, Observation: seen}
	return outcomeObserved, seen, nil
}

// asNotification returns the task's notification with the fields that payloads need.
func (t task) asNotification() record.Notification {
	n := record.Notification{
		ID: t.notification, Provider: t.unit.Provider, Account: t.account, Kind: t.target.Kind,
		Payment: t.target.Payment, Order: t.target.Order, Fields: t.target.Fields, Trace: t.trace,
	}
	if t.notifiedAt != nil {
		n.ReceivedAt = *t.notifiedAt
	}
	return n
}
