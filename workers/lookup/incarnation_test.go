package lookup_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/observations"
	"arauto/workers/lookup"
	"arauto/workers/workertest"
)

// recreate creates NOTIFICATIONS again, with so many messages of another payment that no
// stored sequence lies above its last one, and restarts the worker.
func (r *rig) recreate(others int) {
	r.T.Helper()
	r.Recreate(subject.Notifications)
	for range others {
		r.notify("other")
	}
	o := r.worker.Options
	var err error
	o.Observations, err = observations.Open(r.Ctx, r.JS)
	r.Must(err)
	r.statuses, r.worker = o.Observations, lookup.New(o)
}

// withEvents folds the payment's observations and returns the statuses of its events.
func (r *rig) withEvents(payment string) (statuses []order.Status) {
	r.T.Helper()
	unit := r.Tokens.Unit("sandbox", "default", payment)
	fold := workertest.Bench{Bench: r.Bench}.Fold()
	for _, raw := range r.Messages(subject.Statuses, unit.Status()) {
		r.Must(fold.Handle(r.Ctx, &testbench.Delivered{RawStreamMsg: raw}))
	}
	for _, e := range testbench.Documents[order.Event](r.Bench, subject.Orders, unit.Events()) {
		statuses = append(statuses, e.Status)
	}
	return statuses
}

func TestNotificationsOfARecreatedStreamAreLookedUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for range 3 {
		r.notify("other")
	}
	first, second := r.notify("p"), r.notify("p")
	r.handle(first) // The answer covers both.
	r.recreate(3)
	r.says("partially_refunded", 10000, 5000)
	again := r.notify("p")
	again.Time = time.Now()
	r.handle(again)
	if got := r.last("p"); again.Sequence != first.Sequence || r.lookups("p") != 2 || got.Covers() != again.Sequence {
		t.Fatalf("after notification %d and %d look-ups the last observation covers %d", again.Sequence, r.lookups("p"), got.Covers())
	}
	r.says("refunded", 10000, 10000)
	later := r.notify("p")
	later.Time = time.Now()
	r.handle(later)
	if got := r.last("p"); later.Sequence != second.Sequence || r.lookups("p") != 3 || got.Covers() != later.Sequence {
		t.Errorf("after notification %d and %d look-ups the last observation covers %d", later.Sequence, r.lookups("p"), got.Covers())
	}
	if got := r.withEvents("p"); len(got) != 3 || got[1] != order.PartiallyRefunded || got[2] != order.Refunded {
		t.Errorf("events are %q", got)
	}
	r.handle(again)
	r.handle(later)
	if got := r.lookups("p"); got != 3 {
		t.Errorf("covered notifications led to %d look-ups", got)
	}
}

func TestScheduledLookUpForANotificationOfAnEarlierStreamIsMade(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	r.handle(r.notify("p"))
	waiting := r.parked("p")
	r.recreate(3)
	r.says("authorized", 10000, 0)
	r.handle(r.notify("p")) // The answer covers 4, and the scheduled look-up is for another 1.
	r.says("paid", 10000, 0)
	r.due(waiting)
	if got := r.last("p"); got.Observation.Status != order.Paid || got.Covers() != 4 {
		t.Errorf("the last observation is %s and covers %d", got.Observation.Status, got.Covers())
	}
}

func TestAnswerCoversNoSequenceOfAnEarlierStream(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	for range 3 {
		r.notify("other")
	}
	r.handle(r.notify("p"))
	r.recreate(0)
	r.says("paid", 10000, 0)
	m := r.notify("p")
	r.handle(m) // The look-up that is scheduled for another 4 is cancelled.
	if got := r.last("p").Covers(); got != m.Sequence || r.parked("p").Sequence != 0 {
		t.Errorf("the answer covers %d, want %d; scheduled is %+v", got, m.Sequence, r.parked("p"))
	}
}

func TestScheduledLookUpOfAnEarlierStreamCoversANewNotification(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	for range 3 {
		r.notify("other")
	}
	r.handle(r.notify("p"))
	before := r.parked("p").Parked
	r.recreate(0)
	m := r.notify("p")
	r.handle(m)
	after := r.parked("p").Parked
	if after.Covers != m.Sequence || !after.NotificationsCreated.After(before.NotificationsCreated) || !after.DueAt.Equal(before.DueAt) {
		t.Fatalf("scheduled is %+v, before %+v", after, before)
	}
	r.fire("p")
	r.fire("p")
	r.fire("p") // It is given up.
	if l := r.deadLetters(); len(l) != 1 || l[0].Covers != m.Sequence || !l[0].Created[subject.Notifications].Equal(after.NotificationsCreated) {
		t.Errorf("dead letters are %+v", l)
	}
}

func TestDeadLetterOfAnEarlierStreamSuppressesNone(t *testing.T) {
	t.Parallel()
	r := setup(t)
	unknown := record.Notification{Payment: "p", Kind: order.Payment, Unknown: "BOLETO"}
	first := r.store(unknown)
	r.handle(first)
	r.recreate(0)
	again := r.store(unknown)
	r.handle(again)
	r.handle(again)
	l := r.deadLetters()
	if len(l) != 2 || l[0].ID != l[1].ID || !l[1].Created[subject.Notifications].After(l[0].Created[subject.Notifications]) {
		t.Errorf("dead letters of %d and %d are %+v", first.Sequence, again.Sequence, l)
	}
}

// A dead letter of the earlier stream covers no notification that a failed look-up came
// to cover.
func TestDeadLetterOfAnEarlierStreamCoversNoNewNotification(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	for range 3 {
		r.notify("other")
	}
	r.handle(r.notify("p"))
	for range offsets {
		r.fire("p")
	}
	r.recreate(0)
	r.handle(r.notify("p"))
	r.fire("p")
	r.fire("p")
	waiting := r.parked("p")
	r.Must(r.retries.Cancel(r.Ctx, waiting))
	later := r.notify("p") // Stored before the last look-up, which comes to cover it.
	r.due(waiting)
	if l, p := r.deadLetters(), r.parked("p").Parked; len(l) != 2 || p.Covers != later.Sequence {
		t.Errorf("dead letters are %+v, scheduled is %+v", l, p)
	}
}

// A process that outlives the stream does not know what its sequences name.
func TestStreamRecreatedUnderTheWorkerStopsIt(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.handle(r.notify("p"))
	r.Recreate(subject.Notifications)
	var fatal *consume.Fatal
	err := r.worker.HandleNotification(r.Ctx, r.notify("p"))
	if !errors.As(err, &fatal) || !errors.Is(err, observations.ErrRecreated) {
		t.Errorf("a notification at the covered sequence gave %v, want a fatal error", err)
	}
}
