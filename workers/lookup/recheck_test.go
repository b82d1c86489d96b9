package lookup_test

import (
	"net/http"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

// parkedFor is a look-up of p's that is parked for some hours.
func parkedFor(cause order.Cause, stands uint64) record.ScheduledLookUp {
	return record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p", Covers: stands,
		Cause: cause, Reason: string(cause), DueAt: time.Now().Add(3 * time.Hour).UTC(),
	}
}

func TestWebhookThatFailsBesideTheSweepsLookUpIsRetriedAtTheFirstOffset(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.must(r.lot.Schedule(r.ctx, parkedFor(order.CauseSweep, 0)))
	r.fails(http.StatusServiceUnavailable)
	m := r.notify("p")
	r.handle(m)
	p := r.parked("p").Parked
	if p.FirstFailure == nil || p.DueAt.Sub(*p.FirstFailure) != offsets[0] || p.Covers != m.sequence || p.Cause != order.CauseNotification {
		t.Errorf("parked is %+v", p)
	}
}

// Sweep and operator ask where a webhook failed to, and the provider's read
// side may lag that webhook all the same.
func TestStaleAnswerIsRecheckedWhoeverAskedForTheNotification(t *testing.T) {
	t.Parallel()
	for _, cause := range []order.Cause{order.CauseSweep, order.CauseOperator} {
		t.Run(string(cause), func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.handle(r.notify("p"))
			later := r.notify("p")
			r.must(r.lot.Schedule(r.ctx, parkedFor(cause, later.sequence)))
			r.fire("p")
			if p := r.parked("p").Parked; p.Cause != order.CauseRecheck || p.Rechecks != 1 {
				t.Errorf("parked is %+v", p)
			}
			r.must(r.lot.Cancel(r.ctx, r.parked("p")))
			r.must(r.lot.Schedule(r.ctx, parkedFor(cause, later.sequence))) // Nothing is unanswered now.
			r.fire("p")
			if place := r.parked("p"); place.Sequence != 0 {
				t.Errorf("an answer that no webhook waits for led to %+v", place.Parked)
			}
		})
	}
}

// It has taken the place of the recheck that the same lagging answer led to.
func TestConfirmationThatMayBeStaleIsRechecked(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.says("disputed", 10000, 0)
	r.handle(r.notify("p"))
	r.says("paid", 10000, 0) // The read side lags.
	r.handle(r.notify("p"))
	if p := r.parked("p").Parked; p.Cause != order.CauseRecheck {
		t.Fatalf("parked is %+v", p)
	}
	r.must(r.lot.ScheduleRecheck(r.ctx, parkedFor(order.CauseConfirmation, r.last("p").Covers()))) // As normalize does.
	r.fire("p")
	for number := 1; number <= 2; number++ {
		if p := r.parked("p").Parked; p.Cause != order.CauseRecheck || p.Rechecks != number {
			t.Fatalf("parked is %+v, want recheck %d", p, number)
		}
		r.fire("p")
	}
	if place := r.parked("p"); place.Sequence != 0 {
		t.Errorf("after the series %+v is parked", place.Parked)
	}
}
