package lookup

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"arauto/workers/internal/consume"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
)

// stored is what is stored about a task's payment, as far as decide needs it.
type stored struct {
	last      observations.Entry // The last observation.
	older     bool               // It covers the task's notification and is older than it: see checkCoverage.
	scheduled retry.Entry        // Not read if the last observation ends the task.
}

// load reads what is stored about a task's payment.
func (w *Worker) load(ctx context.Context, t *task) (s stored, err error) {
	if s.last, err = w.Observations.Last(ctx, t.unit); err != nil {
		return s, err
	}
	if t.superseded(s.last) {
		if s.older, err = w.checkCoverage(ctx, t, s.last); err != nil {
			return s, err
		}
	}
	if d := decide(*t, s, w.Now()); d == superseded || d == redundant || d == forgotten {
		return s, nil
	}
	s.scheduled, err = w.Retries.Read(ctx, t.Provider, t.Account, t.Payment)
	s.scheduled.Parked = s.scheduled.Parked.On(t.NotificationsCreated)
	if s.scheduled.Unreadable {
		w.Log.Error("retry.decode_failed",
			zap.String("unit", t.unit.String()), zap.Uint64("sequence", s.scheduled.Sequence))
	}
	return s, err
}

// skew is how far the broker's timestamps of two streams may differ: their leaders can
// be on different servers. A guess, far above the skew of synchronized clocks.
const skew = 10 * time.Second

// checkCoverage reports whether the answer that covers a notification is older than it, by
// the broker's clock: the clock was set back, or NOTIFICATIONS has lost its end and counts
// the same sequences again. It is fatal if NOTIFICATIONS was recreated, or has not reached
// what the answer covers.
func (w *Worker) checkCoverage(ctx context.Context, t *task, last observations.Entry) (older bool, err error) {
	err = w.Observations.CheckCovers(ctx, last.Covers())
	if errors.Is(err, observations.ErrRecreated) {
		err = &consume.Fatal{Err: err}
	}
	if err != nil || !t.storedAt.After(last.Stored.Add(skew)) {
		return false, err
	}
	w.Log.Warn("coverage.contradicted",
		zap.String("unit", t.unit.String()), zap.Uint64("sequence", t.Covers), zap.Uint64("covers", last.Covers()))
	return true, nil
}

// newestCovered is the newest notification that an answer from now on covers. It is read
// after the scheduled look-up, which that answer may cancel. An older one is safe and costs a
// look-up, so it is not read for a first notification behind which no message was pending.
func (w *Worker) newestCovered(ctx context.Context, t *task, s stored) (observations.Notification, error) {
	if t.noPending && s.last.Sequence == 0 && s.scheduled.Sequence == 0 {
		return observations.Notification{Sequence: t.Covers, NeedsLookUp: true}, nil
	}
	newest, err := w.Observations.LastNotification(ctx, t.unit)
	if covers := s.scheduled.Parked.Covers; err == nil && newest.Sequence < covers { // That notification may have been purged.
		newest = observations.Notification{Sequence: covers, NeedsLookUp: true}
	}
	return newest, err
}
