package observe_test

import (
	"net/http"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

// TestFreshNotificationOfAHeldAccountIsAskedSoonAfterItHeals has a payment
// with a retry half a day away. A notification that comes while the account's
// credential is refused must not wait for that one.
func TestFreshNotificationOfAHeldAccountIsAskedSoonAfterItHeals(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w := r.gated(plenty)
	failed := time.Now().Add(-time.Hour).UTC()
	retry := record.Parked{
		Provider: "sandbox", Account: "acme", Kind: order.Payment, Payment: "p", For: r.told("acme", "p").sequence,
		Cause: order.CauseNotification, Waits: "unavailable", Attempts: 2, FirstFailure: &failed,
		DueAt: time.Now().Add(12 * time.Hour).UTC(),
	}
	r.must(r.lot.First(r.ctx, retry))
	r.fails(http.StatusUnauthorized)
	r.must(w.HandleNotification(r.ctx, r.told("acme", "other"))) // Opens the circuit.
	fresh := r.told("acme", "p")
	r.must(w.HandleNotification(r.ctx, fresh))
	place, err := r.lot.Look(r.ctx, "sandbox", "acme", "p")
	r.must(err)
	p := place.Parked
	if r.lookups("p") != 0 || p.For != fresh.sequence || p.Attempts != 2 || !p.FirstFailure.Equal(failed) || time.Until(p.DueAt) > time.Minute {
		t.Fatalf("after %d look-ups parked is %+v", r.lookups("p"), p)
	}
	r.says("paid", 10000, 0)
	r.run(w)
	r.until("the payment is asked for", func() bool { return r.lookups("p") > 0 })
}

// TestComingEarlySpendsNoAttempt lets a look-up that a fresh notification
// brought forward fail.
func TestComingEarlySpendsNoAttempt(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusInternalServerError)
	r.handle(r.notify("p"))
	r.fire("p") // One attempt is spent.
	before := r.parked("p").Parked
	early := before
	early.Waits, early.DueAt = "budget", time.Now().UTC()
	r.must(r.lot.Held(r.ctx, early))
	r.fire("p")
	after := r.parked("p").Parked
	if after.Attempts != before.Attempts || !after.DueAt.Equal(before.DueAt) || after.Early {
		t.Errorf("parked was %+v and is %+v", before, after)
	}
}
