package lookup_test

import (
	"net/http"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// scheduledFor is a look-up of p that is due in some hours.
func scheduledFor(cause order.Cause, stands uint64) record.ScheduledLookUp {
	return record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: stands,
		Cause: cause, Reason: string(cause), DueAt: time.Now().Add(3 * time.Hour).UTC(),
	}
}

func TestFailedWebhookReplacesALaterSweep(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, scheduledFor(order.CauseSweep, 0)))
	r.fails(http.StatusServiceUnavailable)
	m := r.notify("p")
	r.handle(m)
	p := r.parked("p").Parked
	if p.FirstFailure == nil || p.DueAt.Sub(*p.FirstFailure) != offsets[0] || p.Covers != m.Sequence || p.Cause != order.CauseNotification {
		t.Errorf("parked is %+v", p)
	}
}

// A sweep's or an operator's look-up may cover a webhook, and the provider's read side
// may lag that webhook.
func TestStaleAnswerIsRecheckedWhateverTheCause(t *testing.T) {
	t.Parallel()
	for _, cause := range []order.Cause{order.CauseSweep, order.CauseOperator} {
		t.Run(string(cause), func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.handle(r.notify("p"))
			later := r.notify("p")
			r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, scheduledFor(cause, later.Sequence)))
			r.fire("p")
			if p := r.parked("p").Parked; p.Cause != order.CauseRecheck || p.Rechecks != 1 {
				t.Errorf("parked is %+v", p)
			}
			r.Must(r.retries.Cancel(r.Ctx, r.parked("p")))
			r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, scheduledFor(cause, later.Sequence))) // It covers no unanswered notification now.
			r.fire("p")
			if entry := r.parked("p"); entry.Sequence != 0 {
				t.Errorf("an answer that no webhook waits for led to %+v", entry.Parked)
			}
		})
	}
}

// The confirmation has replaced the recheck of the same stale answer.
func TestConfirmationThatMayBeStaleIsRechecked(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.says("disputed", 10000, 0)
	r.handle(r.notify("p"))
	r.says("paid", 10000, 0) // A stale answer.
	r.handle(r.notify("p"))
	if p := r.parked("p").Parked; p.Cause != order.CauseRecheck {
		t.Fatalf("parked is %+v", p)
	}
	r.Must(r.retries.Schedule(r.Ctx, retry.Recheck, scheduledFor(order.CauseConfirmation, r.last("p").Covers()))) // As normalize does.
	r.fire("p")
	for number := 1; number <= 2; number++ {
		if p := r.parked("p").Parked; p.Cause != order.CauseRecheck || p.Rechecks != number {
			t.Fatalf("parked is %+v, want recheck %d", p, number)
		}
		r.fire("p")
	}
	if entry := r.parked("p"); entry.Sequence != 0 {
		t.Errorf("after the series %+v is parked", entry.Parked)
	}
}
