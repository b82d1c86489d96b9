package lookup

import (
	"context"
	"errors"

	"arauto/workers/internal/observations"
)

// errQueued means that the task's look-up is scheduled for its turn in the rate limit.
var errQueued = errors.New("queued for the rate limit")

// admit asks every limit for a look-up, and reads what its answer will cover. With
// errQueued the task is done, with a verdict.DeferredError it is scheduled, with any other
// error the message is redelivered.
func (w *Worker) admit(ctx context.Context, t *task, s stored) (permit, observations.Notification, error) {
	if err := w.deferRateLimited(ctx, *t, s); err != nil {
		return permit{}, observations.Notification{}, err
	}
	newest, err := w.newestCovered(ctx, t, s)
	if err != nil {
		return permit{}, newest, err
	}
	// A due look-up covers every notification stored before it is made: what was scheduled
	// for a later one may be lost, see mayHaveLostSuccessor. The reconcile test found such
	// losses.
	if !t.fresh && newest.NeedsLookUp && newest.Sequence > max(t.Covers, s.last.Covers()) {
		t.Covers = newest.Sequence
	}
	if w.storeFailure.recent(w.Now()) {
		return permit{}, newest, errStoreFailed
	}
	class := classOf(*t, s.last, s.scheduled)
	p, err := w.acquire(ctx, *t, class)
	if err == nil {
		p, err = w.probe(ctx, *t, class, p)
	}
	return p, newest, err
}
