package silence_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/schemas/order"
)

// scribble parks half a document that comes due long after every test.
func (r *rig) scribble(payment string) {
	r.t.Helper()
	place := r.tokens.Waiting("sandbox", "default", payment)
	m := nats.NewMsg(place.Parked())
	m.Data = []byte("{")
	m.Header.Set("Nats-Schedule", "@at 2099-01-02T03:04:05Z")
	m.Header.Set("Nats-Schedule-Target", place.Due())
	_, err := r.JS.PublishMsg(r.ctx, m)
	r.must(err)
}

func TestParkedLookUpThatDoesNotDecodeStopsNoRound(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.scribble("broken")
	r.events("broken", true, order.Paid)
	r.events("behind", true, order.Paid)
	r.turn(30 * time.Hour)
	r.must(r.sweeper(r.JS).Round(r.ctx))
	if r.parked("behind") == nil {
		t.Error("the payment behind it was not made due")
	}
}

// Its next look-up may be the sweep's own.
func TestParkedLookUpThatDoesNotDecodeIsNoWork(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.scribble("broken")
	r.events("broken", true, order.Paid)
	r.turn(30 * time.Hour)
	r.must(r.sweeper(r.JS).Round(r.ctx))
	if p := r.parked("broken"); p == nil || p.Cause != order.CauseSweep {
		t.Errorf("parked is %+v", p)
	}
}

// It may have stood for the notification, but nobody can tell.
func TestOrphanBehindAParkedLookUpThatDoesNotDecodeComesDue(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.scribble("p")
	sequence := r.notify("p")
	judged, err := r.sweeper(r.JS).Orphans(r.ctx, "sandbox", sequence, time.Now().Add(time.Minute))
	r.must(err)
	if p := r.parked("p"); judged != sequence || p == nil || p.For != sequence || p.Notification != "n-p" {
		t.Errorf("judged up to %d of %d, and parked is %+v", judged, sequence, p)
	}
}
