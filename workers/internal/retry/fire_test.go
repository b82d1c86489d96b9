package retry_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// fired checks a delivered look-up against the scheduled one: whole, on its payment's
// subject, and not early by the broker's clock.
func (r *rig) fired(m jetstream.Msg, parked map[string]record.ScheduledLookUp) string {
	r.T.Helper()
	var got record.ScheduledLookUp
	r.Must(json.Unmarshal(m.Data(), &got))
	meta, err := m.Metadata()
	r.Must(err)
	if want := parked[got.Payment]; !reflect.DeepEqual(got, want) {
		r.T.Errorf("fired\n%+v, want\n%+v", got, want)
	}
	if want := r.Tokens.Waiting("sandbox", "default", got.Payment).Due(); m.Subject() != want {
		r.T.Errorf("fired on %s, want %s", m.Subject(), want)
	}
	if early := got.DueAt.Sub(meta.Timestamp); early > 0 {
		r.T.Errorf("%s fired %v early", got.Payment, early)
	}
	return got.Payment
}

func TestDueLookUpIsWholeAndNeverEarly(t *testing.T) {
	t.Parallel()
	r := setup(t)
	parked := map[string]record.ScheduledLookUp{}
	now := time.Now().UTC()
	for i := range 8 { // Every part of a second, so that any rounding shows.
		p := scheduled(fmt.Sprintf("p-%d", i), 1, 0)
		p.DueAt = now.Add(time.Duration(i)*180*time.Millisecond + 300*time.Millisecond)
		parked[p.Payment] = p
		r.Must(r.store.Schedule(r.Ctx, retry.Fresh, p))
	}
	for range len(parked) {
		payment := r.fired(r.next(), parked)
		if place := r.read(payment); place.Sequence != 0 {
			t.Errorf("%s has fired and is still parked", payment)
		}
	}
	if n := r.stored(); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

func TestOverdueLookUpIsDeliveredAtOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := scheduled("p", 1, 0)
	p.DueAt = time.Now().Add(-100 * time.Hour).UTC()
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, p))
	r.fired(r.next(), map[string]record.ScheduledLookUp{"p": p})
}

func TestCancelledLookUpIsNotDelivered(t *testing.T) {
	t.Parallel()
	r := setup(t)
	soon, later := scheduled("cancelled", 1, 0), scheduled("kept", 1, 0)
	now := time.Now().UTC()
	soon.DueAt, later.DueAt = now.Add(700*time.Millisecond), now.Add(900*time.Millisecond)
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, soon))
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, later))
	r.Must(r.store.Cancel(r.Ctx, r.read("cancelled")))
	if got := r.fired(r.next(), map[string]record.ScheduledLookUp{"kept": later}); got != "kept" {
		t.Errorf("%s fired", got)
	}
}

func TestCancelAfterDeliveryChangesNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := scheduled("p", 1, 0)
	p.DueAt = time.Now().Add(500 * time.Millisecond).UTC()
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, p))
	place := r.read("p")
	m, err := r.due.Next(jetstream.FetchMaxWait(30 * time.Second))
	r.Must(err)
	r.Must(r.store.Cancel(r.Ctx, place))
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages are stored, want the one that fired", n)
	}
	r.Must(m.DoubleAck(r.Ctx))
}

func TestReplacedLookUpIsDeliveredOnceAtItsNewTime(t *testing.T) {
	t.Parallel()
	r := setup(t)
	old, next, fence := scheduled("p", 1, 0), scheduled("p", 1, 1), scheduled("fence", 1, 0)
	now := time.Now().UTC()
	old.DueAt, next.DueAt, fence.DueAt = now.Add(400*time.Millisecond), now.Add(800*time.Millisecond), now.Add(1200*time.Millisecond)
	for _, p := range []record.ScheduledLookUp{old, next, fence} {
		r.Must(r.store.Schedule(r.Ctx, retry.Retry, p))
	}
	parked := map[string]record.ScheduledLookUp{"p": next, "fence": fence}
	if first, second := r.fired(r.next(), parked), r.fired(r.next(), parked); first != "p" || second != "fence" {
		t.Errorf("fired %s, then %s", first, second)
	}
}

func TestScheduledLookUpsSurviveRestart(t *testing.T) {
	t.Parallel()
	r := setup(t)
	missed, later := scheduled("missed", 1, 0), scheduled("later", 1, 0)
	now := time.Now().UTC()
	missed.DueAt, later.DueAt = now.Add(500*time.Millisecond), now.Add(3*time.Second)
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, missed))
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, later))
	r.Stop()
	<-time.After(time.Until(missed.DueAt)) // It becomes due while the broker is stopped.
	r.Restart()
	parked := map[string]record.ScheduledLookUp{"missed": missed, "later": later}
	var order []string
	for len(order) < 2 {
		m, err := r.due.Next(jetstream.FetchMaxWait(time.Second))
		if r.Ctx.Err() != nil {
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
