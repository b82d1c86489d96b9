package lookup_test

import (
	"net/http"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

func TestFreshFailureIsScheduledAtTheFirstOffset(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusInternalServerError)
	m := r.notify("p")
	r.handle(m)
	p := r.parked("p").Parked
	if p.Covers != m.Sequence || p.Attempts != 0 || p.Cause != order.CauseNotification || p.Reason != "unavailable" {
		t.Errorf("parked is %+v", p)
	}
	if got := p.DueAt.Sub(*p.FirstFailure); got != offsets[0] {
		t.Errorf("due %v after the first failure, want %v", got, offsets[0])
	}
}

func TestSecondFreshFailureOnlyExtendsCoverage(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusInternalServerError)
	r.handle(r.notify("p"))
	r.fire("p") // One attempt is spent.
	before := r.parked("p").Parked
	later := r.notify("p")
	r.handle(later)
	after := r.parked("p").Parked
	if after.Covers != later.Sequence || after.Attempts != 1 || !after.DueAt.Equal(before.DueAt) || !after.FirstFailure.Equal(*before.FirstFailure) {
		t.Errorf("parked was %+v and is %+v", before, after)
	}
}

func TestSpentAttemptsEndInOneDeadLetter(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	m := r.notify("p")
	r.handle(m)
	for i := range offsets {
		p := r.parked("p").Parked
		if got := p.DueAt.Sub(*p.FirstFailure); got != offsets[i] || p.Attempts != i {
			t.Errorf("attempt %d is due %v after the first failure with %d spent", i, got, p.Attempts)
		}
		r.fire("p")
	}
	if entry := r.parked("p"); entry.Sequence != 0 {
		t.Errorf("after the last attempt %+v is still parked", entry.Parked)
	}
	deadLetters := r.deadLetters()
	if len(deadLetters) != 1 {
		t.Fatalf("%d dead letters, want 1", len(deadLetters))
	}
	l := deadLetters[0]
	if l.Class != record.ClassProvider || l.Attempts != len(offsets) || l.LastAnswer != "unavailable" || l.Sequence != m.Sequence {
		t.Errorf("dead letter is %+v", l)
	}
}

func TestAnswerCancelsTheScheduledLookUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusInternalServerError)
	r.handle(r.notify("p"))
	r.says("refunded", 10000, 10000)
	r.handle(r.notify("p"))
	if entry := r.parked("p"); entry.Sequence != 0 {
		t.Errorf("after an answer %+v is still parked", entry.Parked)
	}
}

func TestAnswerKeepsALookUpScheduledSince(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusInternalServerError)
	r.handle(r.notify("p"))
	replaced := r.parked("p").Parked
	r.script(func(payment string, _ int) (int, string) {
		// During the look-up, the scheduled one is delivered, fails, and is scheduled again.
		replaced.Attempts, replaced.DueAt = 1, time.Now().Add(time.Hour)
		if err := r.retries.Schedule(r.Ctx, retry.Retry, replaced); err != nil {
			t.Errorf("park: %v", err)
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	r.handle(r.notify("p"))
	if got := r.parked("p").Parked.Attempts; got != 1 {
		t.Errorf("what was parked during the ask is gone: %d attempts", got)
	}
}

func TestCoveredDueLookUpIsSuperseded(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusInternalServerError)
	r.handle(r.notify("p"))
	entry := r.parked("p")
	r.says("paid", 10000, 0)
	r.handle(r.notify("p"))
	before := r.lookups("p")
	r.due(entry)
	if got := r.lookups("p"); got != before {
		t.Errorf("a covered look-up asked %d times", got-before)
	}
}

func TestCoveredFreshFailureSchedulesNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var first *testbench.Delivered
	r.script(func(payment string, times int) (int, string) {
		if times == 1 {
			r.handle(first) // Another look-up gets the answer.
			return http.StatusInternalServerError, ""
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	first = r.notify("p")
	r.handle(first)
	if entry := r.parked("p"); entry.Sequence != 0 {
		t.Errorf("a covered failure parked %+v", entry.Parked)
	}
}

func TestThrottlingAndCredentialsSpendNoAttempt(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, status := range []int{http.StatusTooManyRequests, http.StatusUnauthorized, http.StatusForbidden} {
		r.fails(status)
		r.handle(r.notify("p"))
		for range len(offsets) + 2 {
			r.fire("p")
		}
		if got := r.parked("p").Parked.Attempts; got != 0 {
			t.Errorf("status %d spent %d attempts", status, got)
		}
	}
	if deadLetters := r.deadLetters(); len(deadLetters) != 0 {
		t.Errorf("dead letters: %+v", deadLetters)
	}
}

func TestUnknownPaymentIsRetriedThenDeadLettered(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	r.handle(r.notify("p"))
	rounds := 0
	for ; r.parked("p").Sequence != 0 && rounds < 10; rounds++ {
		r.fire("p")
	}
	deadLetters := r.deadLetters()
	if rounds != len(r.worker.Policy.NotFound) || len(deadLetters) != 1 || deadLetters[0].Class != record.ClassData {
		t.Errorf("after %d rechecks the dead letters are %+v", rounds, deadLetters)
	}
}

func TestFailedRecheckStaysARecheck(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.handle(r.notify("p"))
	r.handle(r.notify("p"))
	r.fails(http.StatusInternalServerError)
	r.fire("p")
	p := r.parked("p").Parked
	if p.Cause != order.CauseRecheck || p.Rechecks != 1 || p.Reason != "unavailable" {
		t.Fatalf("parked is %+v", p)
	}
	before := r.lookups("p")
	r.says("refunded", 10000, 10000)
	r.fire("p")
	if r.lookups("p") != before+1 || r.last("p").Observation.Status != order.Refunded {
		t.Errorf("the recheck asked %d times and the last observation is %s", r.lookups("p")-before, r.last("p").Observation.Status)
	}
}

// bytes is how many bytes LOOKUP_RETRIES takes.
func (r *rig) bytes() int64 {
	r.T.Helper()
	stream, err := r.JS.Stream(r.Ctx, subject.LookupRetries)
	r.Must(err)
	return int64(stream.CachedInfo().State.Bytes) //nolint:gosec // A test's stream is small.
}
