package lookup_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

// If the broker's clock was set back, or the stream recreated, an answer can be older
// than the notification that it covers. That must neither stop the worker nor be skipped.
func TestNotificationYoungerThanItsAnswerIsLookedUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first, second := r.notify("p"), r.notify("p")
	r.handle(first) // The answer covers both.
	second.Time = time.Now().Add(time.Minute)
	r.fails(http.StatusBadGateway)
	r.handle(second)
	entry := r.parked("p")
	if p := entry.Parked; p.Cause != order.CauseRecheck || p.Covers != second.Sequence || p.Attempts != 0 || p.FirstFailure == nil || p.DueAt.Sub(*p.FirstFailure) != offsets[0] {
		t.Fatalf("parked is %+v", p)
	}
	r.fire("p") // The look-up fails again and spends an attempt.
	if p := r.parked("p").Parked; p.Cause != order.CauseRecheck || p.Attempts != 1 {
		t.Fatalf("parked again is %+v", p)
	}
	r.says("refunded", 10000, 10000)
	r.fire("p")
	if got := r.last("p"); got.Observation.Status != order.Refunded || got.Covers() != second.Sequence || r.lookups("p") != 4 {
		t.Errorf("after %d look-ups the last observation covers %d as %s", r.lookups("p"), got.Covers(), got.Observation.Status)
	}
}

// A scheduled look-up whose notification is covered ends without being made, so it must
// not cover a notification that needs a look-up.
func TestNotificationYoungerThanItsAnswerBesideACoveredRetry(t *testing.T) {
	t.Parallel()
	for _, waits := range []record.Failure{record.Transport, record.NotFound, record.RateLimited} {
		t.Run(string(waits), func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			first, second := r.notify("p"), r.notify("p")
			r.handle(first)
			covered := scheduledFor(order.CauseNotification, second.Sequence)
			covered.Reason = string(waits)
			r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, covered))
			second.Time = time.Now().Add(time.Minute)
			r.fails(http.StatusBadGateway)
			r.handle(second)
			r.says("refunded", 10000, 10000)
			r.fire("p")
			if got := r.last("p"); got.Observation.Status != order.Refunded || got.Covers() != second.Sequence {
				t.Errorf("the last observation covers %d as %s", got.Covers(), got.Observation.Status)
			}
		})
	}
}

func TestPayloadYoungerThanItsObservationIsStoredAgain(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "beeteller")
	payload := func(status string) *testbench.Delivered {
		return r.store(record.Notification{
			Payment: "p", Order: "ref", Kind: order.Payout, Fields: map[string]string{"status": status, "reference": "ref"},
		})
	}
	first, second := payload("PROCESSING"), payload("PAID")
	r.handle(second)
	first.Time = time.Now().Add(time.Minute)
	r.handle(first)
	seen := r.observations("p")
	if len(seen) != 3 || seen[2].Status != order.Processing || seen[2].Covers != second.Sequence {
		t.Errorf("chain is %+v", seen)
	}
}

func TestRepeatedAnswerKeepsAScheduledRecheck(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.handle(r.notify("p"))
	r.handle(r.notify("p")) // Schedules recheck 1.
	first := r.parked("p")
	r.fire("p") // Schedules recheck 2.
	second := r.parked("p")
	r.handle(r.notify("p")) // A later notification schedules recheck 1 of its own.
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

func TestLaterFailedNotificationHasItsOwnRechecks(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.handle(r.notify("p"))
	r.handle(r.notify("p"))
	r.fire("p") // Recheck 2, the last of its series, is scheduled.
	r.fails(http.StatusBadGateway)
	later := r.notify("p")
	r.handle(later)
	if p := r.parked("p").Parked; p.Covers != later.Sequence || p.Rechecks != 0 {
		t.Errorf("parked is %+v", p)
	}
}

func TestUnreadableDueLookUpIsDeadLettered(t *testing.T) {
	t.Parallel()
	r := setup(t)
	testbench.Must(t, r.worker.HandleDue(r.Ctx, &testbench.Delivered{RawStreamMsg: &jetstream.RawStreamMsg{Subject: "lookup.due.sandbox.default.h", Data: []byte("{"), Sequence: 7}}))
	deadLetters := r.deadLetters()
	if len(deadLetters) != 1 || deadLetters[0].Stream != subject.LookupRetries || deadLetters[0].Sequence != 7 || deadLetters[0].Class != record.ClassOurs {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}

func TestUnknownPaymentAfterAnOutageIsRetried(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	r.handle(r.notify("p"))
	r.fire("p")
	r.fire("p")
	r.fails(http.StatusNotFound)
	r.fire("p")
	if p := r.parked("p").Parked; p.Reason != "not_found" || p.NotFound != 1 || p.Attempts != 2 {
		t.Errorf("parked is %+v, dead letters %+v", p, r.deadLetters())
	}
}

func TestTooLongAnswerIsUnreadable(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, word := range []string{"paid", "teleported"} { // An unknown word makes the answer no shorter.
		r.script(func(payment string, _ int) (int, string) {
			return http.StatusOK, `{"payment":"` + payment + `","order":"` + strings.Repeat("x", 200_000) + `","status":"` + word + `","amount":1}`
		})
		r.handle(r.notify(word))
		if p := r.parked(word).Parked; p.Reason != "unreadable" || len(r.observations(word)) != 0 {
			t.Errorf("%s: parked is %+v", word, p)
		}
	}
}

func TestAnswerCoversItsPurgedNotification(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	m := r.notify("p")
	r.handle(m)
	stream, err := r.JS.Stream(r.Ctx, subject.Notifications)
	testbench.Must(t, err)
	testbench.Must(t, stream.Purge(r.Ctx))
	r.says("refunded", 10000, 10000)
	r.fire("p")
	if last := r.last("p"); last.Covers() != m.Sequence || last.Observation.Status != order.Refunded {
		t.Errorf("the answer covers %d, want %d", last.Covers(), m.Sequence)
	}
}

// Else the notification would be redelivered every few seconds until the broker delivers
// the scheduled look-up.
func TestUnreadableScheduledLookUpBlocksNothing(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusOK, http.StatusServiceUnavailable} {
		r := setup(t)
		subjects := r.Tokens.Waiting("sandbox", "default", "p")
		m := nats.NewMsg(subjects.Parked())
		m.Data = []byte("{")
		m.Header.Set("Nats-Schedule", "@at 2099-01-02T03:04:05Z")
		m.Header.Set("Nats-Schedule-Target", subjects.Due())
		_, err := r.JS.PublishMsg(r.Ctx, m)
		r.Must(err)
		r.script(func(payment string, _ int) (int, string) { return status, state(payment, "paid", 10000, 0) })
		told := r.notify("p")
		r.handle(told)
		left := r.parked("p")
		switch status {
		case http.StatusOK:
			if left.Sequence != 0 || r.last("p").Covers() != told.Sequence {
				t.Errorf("after an answer %+v is parked", left)
			}
		default:
			if p := left.Parked; left.Unreadable || p.Covers != told.Sequence || p.DueAt.Sub(*p.FirstFailure) != offsets[0] {
				t.Errorf("after a failure %+v is parked", left)
			}
		}
	}
}
