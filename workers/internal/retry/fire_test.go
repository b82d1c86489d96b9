package retry_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/record"
)

// fired checks a look-up that came due against what was parked: whole, on the
// subject of its payment, and not early by the broker's own clock.
func (r *rig) fired(m jetstream.Msg, parked map[string]record.ScheduledLookUp) string {
	r.t.Helper()
	var got record.ScheduledLookUp
	r.must(json.Unmarshal(m.Data(), &got))
	meta, err := m.Metadata()
	r.must(err)
	if want := parked[got.Payment]; !reflect.DeepEqual(got, want) {
		r.t.Errorf("fired\n%+v, want\n%+v", got, want)
	}
	if want := r.tokens.Waiting("sandbox", "default", got.Payment).Due(); m.Subject() != want {
		r.t.Errorf("fired on %s, want %s", m.Subject(), want)
	}
	if early := got.DueAt.Sub(meta.Timestamp); early > 0 {
		r.t.Errorf("%s fired %v early", got.Payment, early)
	}
	return got.Payment
}

func TestFiringIsWholeAndNeverEarly(t *testing.T) {
	t.Parallel()
	r := setup(t)
	parked := map[string]record.ScheduledLookUp{}
	now := time.Now().UTC()
	for i := range 8 { // Every part of a second, so that no rounding goes unseen.
		p := waiting(fmt.Sprintf("p-%d", i), 1, 0)
		p.DueAt = now.Add(time.Duration(i)*180*time.Millisecond + 300*time.Millisecond)
		parked[p.Payment] = p
		r.must(r.lot.Schedule(r.ctx, p))
	}
	for range len(parked) {
		payment := r.fired(r.next(), parked)
		if place := r.look(payment); place.Sequence != 0 {
			t.Errorf("%s has fired and is still parked", payment)
		}
	}
	if n := r.stored(); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

func TestOverdueFiresAtOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := waiting("p", 1, 0)
	p.DueAt = time.Now().Add(-100 * time.Hour).UTC()
	r.must(r.lot.Schedule(r.ctx, p))
	r.fired(r.next(), map[string]record.ScheduledLookUp{"p": p})
}

func TestCancelledLookUpDoesNotFire(t *testing.T) {
	t.Parallel()
	r := setup(t)
	soon, later := waiting("cancelled", 1, 0), waiting("kept", 1, 0)
	now := time.Now().UTC()
	soon.DueAt, later.DueAt = now.Add(700*time.Millisecond), now.Add(900*time.Millisecond)
	r.must(r.lot.Schedule(r.ctx, soon))
	r.must(r.lot.Schedule(r.ctx, later))
	r.must(r.lot.Cancel(r.ctx, r.look("cancelled")))
	if got := r.fired(r.next(), map[string]record.ScheduledLookUp{"kept": later}); got != "kept" {
		t.Errorf("%s fired", got)
	}
}

func TestCancelOfAFiredLookUpHarmsNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := waiting("p", 1, 0)
	p.DueAt = time.Now().Add(500 * time.Millisecond).UTC()
	r.must(r.lot.Schedule(r.ctx, p))
	place := r.look("p")
	m, err := r.due.Next(jetstream.FetchMaxWait(30 * time.Second))
	r.must(err)
	r.must(r.lot.Cancel(r.ctx, place))
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages are stored, want the one that fired", n)
	}
	r.must(m.DoubleAck(r.ctx))
}

func TestReplacedLookUpFiresOnceAtItsNewTime(t *testing.T) {
	t.Parallel()
	r := setup(t)
	old, next, fence := waiting("p", 1, 0), waiting("p", 1, 1), waiting("fence", 1, 0)
	now := time.Now().UTC()
	old.DueAt, next.DueAt, fence.DueAt = now.Add(400*time.Millisecond), now.Add(800*time.Millisecond), now.Add(1200*time.Millisecond)
	for _, p := range []record.ScheduledLookUp{old, next, fence} {
		r.must(r.lot.Reschedule(r.ctx, p))
	}
	parked := map[string]record.ScheduledLookUp{"p": next, "fence": fence}
	if first, second := r.fired(r.next(), parked), r.fired(r.next(), parked); first != "p" || second != "fence" {
		t.Errorf("fired %s, then %s", first, second)
	}
}

func TestParkedLookUpsSurviveARestart(t *testing.T) {
	t.Parallel()
	r := setup(t)
	missed, later := waiting("missed", 1, 0), waiting("later", 1, 0)
	now := time.Now().UTC()
	missed.DueAt, later.DueAt = now.Add(500*time.Millisecond), now.Add(3*time.Second)
	r.must(r.lot.Schedule(r.ctx, missed))
	r.must(r.lot.Schedule(r.ctx, later))
	r.Stop()
	<-time.After(time.Until(missed.DueAt)) // It comes due while nobody is there.
	r.Restart()
	parked := map[string]record.ScheduledLookUp{"missed": missed, "later": later}
	var order []string
	for len(order) < 2 {
		m, err := r.due.Next(jetstream.FetchMaxWait(time.Second))
		if r.ctx.Err() != nil {
			t.Fatal("nothing fires after a restart")
		}
		if err != nil {
			continue // Not reconnected yet, or nothing due yet.
		}
		order = append(order, r.fired(m, parked))
	}
	if order[0] != "missed" {
		t.Errorf("fired in the order %v", order)
	}
}
