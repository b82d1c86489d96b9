package lookup_test

import (
	"net/http"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

// hold makes STATUSES take at most so many messages, -1 for any number.
func (r *rig) hold(messages int64) {
	r.T.Helper()
	stream, err := r.JS.Stream(r.Ctx, subject.Statuses)
	r.Must(err)
	config := stream.CachedInfo().Config
	config.MaxMsgs = messages
	_, err = r.JS.UpdateStream(r.Ctx, config)
	r.Must(err)
}

// refused delivers a notification whose result cannot be stored.
func (r *rig) refused(m *testbench.Delivered) {
	r.T.Helper()
	if err := r.worker.HandleNotification(r.Ctx, m); err == nil {
		r.T.Fatal("an answer that was not stored is called handled")
	}
}

// The provider must not be asked twice a second for answers that cannot be stored.
func TestNoLookUpsWhileAnswersAreRefused(t *testing.T) {
	t.Parallel()
	r := setup(t)
	now := time.Now()
	r.worker.Now = func() time.Time { return now }
	r.handle(r.notify("before"))
	r.hold(1)
	first, second := r.notify("p"), r.notify("q")
	for range 3 {
		r.refused(first)
	}
	r.refused(second)
	if p, q := r.lookups("p"), r.lookups("q"); p != 1 || q != 0 {
		t.Errorf("asked %d times for the one and %d times for the other", p, q)
	}
	now = now.Add(time.Minute)
	r.refused(first)
	r.hold(-1)
	now = now.Add(time.Minute)
	r.handle(first)
	r.handle(second)
	if p, q := r.lookups("p"), r.lookups("q"); p != 3 || q != 1 || r.last("p").Covers() != first.Sequence || r.last("q").Covers() != second.Sequence {
		t.Errorf("asked %d and %d times, the last answers are %+v and %+v", p, q, r.last("p"), r.last("q"))
	}
}

// A message whose dead letter has no room is delivered again and again, and must not be asked
// about each time. Other payments are.
func TestNoLookUpsOfAMessageWhoseDeadLetterIsRefused(t *testing.T) {
	t.Parallel()
	r := setup(t)
	now := time.Now()
	r.worker.Now = func() time.Time { return now }
	letters := func(most int64) {
		t.Helper()
		config := r.Stream(subject.DeadLetters).CachedInfo().Config
		config.MaxBytes = most
		_, err := r.JS.UpdateStream(r.Ctx, config)
		r.Must(err)
	}
	r.script(func(payment string, _ int) (int, string) {
		if payment == "p" {
			return http.StatusRequestURITooLong, ""
		}
		return http.StatusOK, state(payment, "paid", 10000, 0)
	})
	letters(1)
	m := r.notify("p")
	for range 3 {
		r.refused(m)
	}
	r.handle(r.notify("q"))
	if p, q := r.lookups("p"), r.lookups("q"); p != 1 || q != 1 {
		t.Errorf("asked %d times for the one and %d times for the other", p, q)
	}
	letters(1 << 20)
	now = now.Add(time.Minute)
	r.handle(m)
	if n := r.lookups("p"); n != 2 {
		t.Errorf("asked %d times once there is room", n)
	}
}

// After a conflict the task is decided again, without a wait.
func TestConflictIsNoStoreFailure(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.script(func(payment string, times int) (int, string) {
		if times == 1 {
			_, err := r.statuses.Append(r.Ctx, r.Unit(payment), r.last(payment), order.Observation{}, "")
			r.Must(err)
		}
		return 200, state(payment, "paid", 10000, 0)
	})
	r.handle(r.notify("p"))
	r.handle(r.notify("q"))
	if p, q := r.lookups("p"), r.lookups("q"); p != 2 || q != 2 {
		t.Errorf("asked %d and %d times", p, q)
	}
}

// The redelivered message is looked up again; a recheck would do so too.
func TestRecheckOfARefusedAnswerIsCancelled(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.says("pending", 10000, 0)
	r.handle(r.notify("before"))
	r.hold(1)
	m := r.notify("p")
	r.refused(m)
	if entry := r.parked("p"); entry.Sequence != 0 {
		t.Errorf("parked is %+v", entry.Parked)
	}
}

// A look-up that was scheduled for a later notification while the answer was on its way
// is kept.
func TestRecheckWithLaterCoverageIsNotCancelled(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.says("pending", 10000, 0)
	r.handle(r.notify("before"))
	r.hold(1)
	r.script(func(payment string, _ int) (int, string) {
		r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, scheduledFor(order.CauseNotification, 99)))
		return 200, state(payment, "pending", 10000, 0)
	})
	r.refused(r.notify("p"))
	if p := r.parked("p").Parked; p.Covers != 99 {
		t.Errorf("parked is %+v", p)
	}
}
