package observe_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/consume"
)

func TestNotificationYoungerThanTheAnswerThatCoversItStopsTheWorker(t *testing.T) {
	t.Parallel()
	r := setup(t)
	m := r.notify("p")
	r.handle(m)
	m.stored = time.Now().Add(time.Minute) // As if NOTIFICATIONS had begun anew and come this far again.
	err := r.worker.HandleNotification(r.ctx, m)
	var fatal *consume.Fatal
	if !errors.As(err, &fatal) {
		t.Errorf("a notification younger than its answer gave %v, want a fatal error", err)
	}
}

func TestAnswerThatSaysNothingNewKeepsAWaitingRecheck(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.handle(r.notify("p"))
	r.handle(r.notify("p")) // Parks recheck 1.
	first := r.parked("p")
	r.fire("p") // Parks recheck 2.
	second := r.parked("p")
	r.handle(r.notify("p")) // A later notification parks recheck 1 of its own.
	own := r.parked("p")
	if own.Parked.Rechecks != 1 {
		t.Fatalf("parked is %+v", own.Parked)
	}
	r.due(second) // The old series ends with the same stale answer.
	if after := r.parked("p"); after.Sequence != own.Sequence {
		t.Errorf("the later notification's recheck %+v became %+v", own.Parked, after.Parked)
	}
	if first.Parked.Rechecks != 1 || second.Parked.Rechecks != 2 {
		t.Errorf("rechecks were %d and %d", first.Parked.Rechecks, second.Parked.Rechecks)
	}
}

func TestLaterNotificationThatFailsHasARecheckSeriesOfItsOwn(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.handle(r.notify("p"))
	r.handle(r.notify("p"))
	r.fire("p") // Recheck 2, the last of its series, is parked.
	r.fails(http.StatusBadGateway)
	later := r.notify("p")
	r.handle(later)
	if p := r.parked("p").Parked; p.For != later.sequence || p.Rechecks != 0 {
		t.Errorf("parked is %+v", p)
	}
}

func TestUnreadableDueLookUpIsBuriedUnderItsOwnStream(t *testing.T) {
	t.Parallel()
	r := setup(t)
	if err := r.worker.HandleDue(r.ctx, &delivered{subject: "lookup.due.sandbox.default.h", data: []byte("{"), sequence: 7}); err != nil {
		t.Fatal(err)
	}
	letters := r.letters()
	if len(letters) != 1 || letters[0].Stream != subject.LookupRetries || letters[0].Sequence != 7 || letters[0].Class != record.ClassOurs {
		t.Errorf("dead letters are %+v", letters)
	}
}

func TestUnknownPaymentAfterAnOutageIsStillRechecked(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	r.handle(r.notify("p"))
	r.fire("p")
	r.fire("p")
	r.fails(http.StatusNotFound)
	r.fire("p")
	if p := r.parked("p").Parked; p.Waits != "not_found" || p.NotFound != 1 || p.Attempts != 2 {
		t.Errorf("parked is %+v, dead letters %+v", p, r.letters())
	}
}

func TestAnswerTooLongForAnEventIsUnreadable(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, word := range []string{"paid", "teleported"} { // A word that we lack makes it no shorter.
		r.script(func(payment string, _ int) (int, string) {
			return http.StatusOK, `{"payment":"` + payment + `","order":"` + strings.Repeat("x", 200_000) + `","status":"` + word + `","amount":1}`
		})
		r.handle(r.notify(word))
		if p := r.parked(word).Parked; p.Waits != "unreadable" || len(r.observations(word)) != 0 {
			t.Errorf("%s: parked is %+v", word, p)
		}
	}
}

func TestAnswerWithoutNotificationsStillCoversWhatItStandsFor(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	m := r.notify("p")
	r.handle(m)
	stream, err := r.JS.Stream(r.ctx, subject.Notifications)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.says("refunded", 10000, 10000)
	r.fire("p")
	if last := r.last("p"); last.Covers() != m.sequence || last.Observation.Status != order.Refunded {
		t.Errorf("the answer covers %d, want %d", last.Covers(), m.sequence)
	}
}
