package lookup_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// A broker's clock that was set back makes an answer older than what it covers,
// and so does a stream that was recreated and has come as far again. It must
// neither stop everybody nor be skipped.
func TestNotificationYoungerThanTheAnswerThatCoversItIsAskedFor(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first, second := r.notify("p"), r.notify("p")
	r.handle(first) // Its answer covers both.
	second.stored = time.Now().Add(time.Minute)
	r.fails(http.StatusBadGateway)
	r.handle(second)
	place := r.parked("p")
	if p := place.Parked; p.Cause != order.CauseRecheck || p.Covers != second.sequence || p.Attempts != 0 || p.FirstFailure == nil || p.DueAt.Sub(*p.FirstFailure) != offsets[0] {
		t.Fatalf("parked is %+v", p)
	}
	r.fire("p") // It fails again, and spends an attempt.
	if p := r.parked("p").Parked; p.Cause != order.CauseRecheck || p.Attempts != 1 {
		t.Fatalf("parked again is %+v", p)
	}
	r.says("refunded", 10000, 10000)
	r.fire("p")
	if got := r.last("p"); got.Observation.Status != order.Refunded || got.Covers() != second.sequence || r.lookups("p") != 4 {
		t.Errorf("after %d look-ups the last observation covers %d as %s", r.lookups("p"), got.Covers(), got.Observation.Status)
	}
}

// What is parked already for a notification that an answer covers ends without a
// look-up, so it cannot stand for a notification that is to be asked for.
func TestDoubtfulNotificationIsAskedForBesideAParkedOneThatIsCovered(t *testing.T) {
	t.Parallel()
	for _, waits := range []record.Failure{record.Transport, record.NotFound, record.RateLimited} {
		t.Run(string(waits), func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			first, second := r.notify("p"), r.notify("p")
			r.handle(first)
			covered := parkedFor(order.CauseNotification, second.sequence)
			covered.Reason = string(waits)
			r.must(r.lot.Schedule(r.ctx, covered))
			second.stored = time.Now().Add(time.Minute)
			r.fails(http.StatusBadGateway)
			r.handle(second)
			r.says("refunded", 10000, 10000)
			r.fire("p")
			if got := r.last("p"); got.Observation.Status != order.Refunded || got.Covers() != second.sequence {
				t.Errorf("the last observation covers %d as %s", got.Covers(), got.Observation.Status)
			}
		})
	}
}

func TestBelievedNotificationYoungerThanWhatCoversItIsWrittenAgain(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "beeteller")
	claim := func(status string) *delivered {
		return r.store(record.Notification{
			Payment: "p", Order: "ref", Kind: order.Payout, Fields: map[string]string{"status": status, "reference": "ref"},
		})
	}
	first, second := claim("PROCESSING"), claim("PAID")
	r.handle(second)
	first.stored = time.Now().Add(time.Minute)
	r.handle(first)
	seen := r.observations("p")
	if len(seen) != 3 || seen[2].Status != order.Processing || seen[2].Covers != second.sequence {
		t.Errorf("chain is %+v", seen)
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
	if p := r.parked("p").Parked; p.Covers != later.sequence || p.Rechecks != 0 {
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
	if p := r.parked("p").Parked; p.Reason != "not_found" || p.NotFound != 1 || p.Attempts != 2 {
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
		if p := r.parked(word).Parked; p.Reason != "unreadable" || len(r.observations(word)) != 0 {
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

// Else the notification would come back every few seconds until the broker
// fires what is parked.
func TestParkedLookUpThatDoesNotDecodeHoldsNothingUp(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusOK, http.StatusServiceUnavailable} {
		r := setup(t)
		place := r.tokens.Waiting("sandbox", "default", "p")
		m := nats.NewMsg(place.Parked())
		m.Data = []byte("{")
		m.Header.Set("Nats-Schedule", "@at 2099-01-02T03:04:05Z")
		m.Header.Set("Nats-Schedule-Target", place.Due())
		_, err := r.JS.PublishMsg(r.ctx, m)
		r.must(err)
		r.script(func(payment string, _ int) (int, string) { return status, state(payment, "paid", 10000, 0) })
		told := r.notify("p")
		r.handle(told)
		left := r.parked("p")
		switch status {
		case http.StatusOK:
			if left.Sequence != 0 || r.last("p").Covers() != told.sequence {
				t.Errorf("after an answer %+v is parked", left)
			}
		default:
			if p := left.Parked; left.Unreadable || p.Covers != told.sequence || p.DueAt.Sub(*p.FirstFailure) != offsets[0] {
				t.Errorf("after a failure %+v is parked", left)
			}
		}
	}
}
