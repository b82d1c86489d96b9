package lookup

import (
	"context"

	"arauto/workers/internal/observations"
)

// admit asks every limit for a look-up, and then reads what its answer will cover. With a
// verdict.DeferredError the task is scheduled, with any other error the message is
// redelivered. In a flood of invented payments a webhook costs three round trips to the broker.
func (w *Worker) admit(ctx context.Context, t *task, s stored) (permit, observations.Notification, error) {
	now := w.Now()
	if until, _ := w.unstored.Get(t.message()); now.Before(until) || now.UnixNano() < w.pausedUntil.Load() {
		return permit{}, observations.Notification{}, errStoreFailed
	}
	class := classOf(*t, s.last, s.scheduled)
	p, err := w.acquire(ctx, *t, class)
	if err == nil {
		p, err = w.probe(ctx, *t, class, p)
	}
	if err != nil {
		return p, observations.Notification{}, err
	}
	newest, err := w.newestCovered(ctx, t, s)
	if err != nil {
		err = w.reportResult(ctx, *t, p, s.scheduled, err)
		p.release()
	}
	// A due look-up covers every notification stored before it is made: what was scheduled
	// for a later one may be lost, see mayHaveLostSuccessor. The reconcile test found such
	// losses.
	if !t.fresh && newest.NeedsLookUp && newest.Sequence > max(t.Covers, s.last.Covers()) {
		t.Covers = newest.Sequence
	}
	return p, newest, err
}
