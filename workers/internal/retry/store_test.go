package retry_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

func (r *rig) holds(payment string, want record.ScheduledLookUp) {
	r.T.Helper()
	if got := r.read(payment).Parked; !reflect.DeepEqual(got, want) {
		r.T.Errorf("parked is\n%+v, want\n%+v", got, want)
	}
	if n := r.stored(); n != 1 {
		r.T.Errorf("%d messages are stored, want one schedule", n)
	}
}

func TestNothingIsScheduledAtFirst(t *testing.T) {
	t.Parallel()
	if entry := setup(t).read("p"); !reflect.DeepEqual(entry, retry.Entry{}) {
		t.Errorf("an empty place is %+v", entry)
	}
}

func TestScheduledLookUpIsReadWhole(t *testing.T) {
	t.Parallel()
	for name, put := range verbs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			p := scheduled("p", 5, 2)
			p.Rechecks = 1
			r.Must(put(r.store, r, p))
			r.holds("p", p)
		})
	}
}

// verbs are the methods that store a look-up as it is given.
var verbs = map[string]func(*retry.Store, *rig, record.ScheduledLookUp) error{
	"first":  func(l *retry.Store, r *rig, p record.ScheduledLookUp) error { return l.Schedule(r.Ctx, p) },
	"again":  func(l *retry.Store, r *rig, p record.ScheduledLookUp) error { return l.Reschedule(r.Ctx, p) },
	"follow": func(l *retry.Store, r *rig, p record.ScheduledLookUp) error { return l.ScheduleRecheck(r.Ctx, p) },
}

func TestSubjectsNeverShowAnID(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, id := range []string{"plain-id", "ana@example.com", "529.982.247-25", "a.b *>"} {
		r.Must(r.store.Schedule(r.Ctx, scheduled(id, 1, 0)))
		m := r.raw(id)
		want := "lookup.parked.sandbox.default." + r.Tokens.Hash(id)
		if m.Subject != want || m.Header.Get("Nats-Schedule-Target") != strings.Replace(want, "parked", "due", 1) {
			t.Errorf("%q is parked on %s for %s", id, m.Subject, m.Header.Get("Nats-Schedule-Target"))
		}
		for name, values := range m.Header {
			if strings.Contains(strings.Join(values, " "), id) {
				t.Errorf("header %s shows the id: %v", name, values)
			}
		}
	}
	if n := r.stored(); n != 4 {
		t.Errorf("%d places for 4 payments", n)
	}
}

func TestAccountsAreSeparate(t *testing.T) {
	t.Parallel()
	r := setup(t)
	one, two := scheduled("p", 1, 0), scheduled("p", 2, 0)
	two.Account = "acme"
	r.Must(r.store.Schedule(r.Ctx, one))
	r.Must(r.store.Schedule(r.Ctx, two))
	if got := r.read("p").Parked; !reflect.DeepEqual(got, one) {
		t.Errorf("account default has %+v", got)
	}
}

func TestScheduleExtendsCoverageOfTheScheduledOne(t *testing.T) {
	t.Parallel()
	r := setup(t)
	old := scheduled("p", 5, 3)
	r.Must(r.store.Schedule(r.Ctx, old))
	fresh := scheduled("p", 7, 0)
	fresh.Reason, fresh.Cause, fresh.DueAt = "transport", order.CauseNotification, far(-100)
	r.Must(r.store.Schedule(r.Ctx, fresh))
	want := old
	want.Covers, want.Notification, want.NotifiedAt = 7, fresh.Notification, fresh.NotifiedAt
	r.holds("p", want)
	if got := r.raw("p").Header.Get("Nats-Schedule"); got != "@at 2099-01-02T06:04:05.678901234Z" {
		t.Errorf("the schedule became %q", got)
	}
}

func TestScheduleOfAnEarlierNotificationChangesNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Schedule(r.Ctx, scheduled("p", 5, 3)))
	before := r.read("p")
	for _, stands := range []uint64{0, 4, 5} {
		r.Must(r.store.Schedule(r.Ctx, scheduled("p", stands, 0)))
	}
	if after := r.read("p"); !reflect.DeepEqual(after, before) {
		t.Errorf("parked was %+v and is %+v", before, after)
	}
}

func TestRescheduleReplacesTheScheduledOne(t *testing.T) {
	t.Parallel()
	r := setup(t)
	fresh := scheduled("p", 7, 0)
	r.Must(r.store.Schedule(r.Ctx, fresh))
	fired := scheduled("p", 5, 2)
	r.Must(r.store.Reschedule(r.Ctx, fired))
	want := fired
	want.Covers, want.Notification, want.NotifiedAt = 7, fresh.Notification, fresh.NotifiedAt
	r.holds("p", want)
}

// A recheck that an answer scheduled must not wait for hours because an older recheck
// failed.
func TestRescheduleKeepsAnEarlierRecheck(t *testing.T) {
	t.Parallel()
	for _, cause := range []order.Cause{order.CauseRecheck, order.CauseConfirmation} {
		r := setup(t)
		follows := scheduled("p", 7, 0)
		follows.Cause, follows.Reason, follows.Rechecks, follows.FirstFailure, follows.DueAt = cause, string(cause), 1, nil, far(-1)
		r.Must(r.store.ScheduleRecheck(r.Ctx, follows))
		failed := scheduled("p", 5, 2)
		failed.Cause, failed.Rechecks = order.CauseRecheck, 2
		r.Must(r.store.Reschedule(r.Ctx, failed))
		want := failed
		want.Covers, want.Notification, want.NotifiedAt = 7, follows.Notification, follows.NotifiedAt
		want.Cause, want.Reason, want.Rechecks, want.DueAt, want.Expedited = cause, string(cause), 1, follows.DueAt, true
		r.holds("p", want)
	}
}

func TestRescheduleNeverLowersAttempts(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Reschedule(r.Ctx, scheduled("p", 5, 4)))
	stale := scheduled("p", 5, 1) // The same delivery again, much later.
	failed := far(-1)
	stale.FirstFailure = &failed
	r.Must(r.store.Reschedule(r.Ctx, stale))
	r.holds("p", scheduled("p", 5, 4))
}

func TestRecheckReplacesACoveredRetry(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Schedule(r.Ctx, scheduled("p", 5, 3)))
	recheck := scheduled("p", 6, 0)
	recheck.Cause, recheck.Reason, recheck.Rechecks, recheck.FirstFailure = order.CauseRecheck, "recheck", 1, nil
	r.Must(r.store.ScheduleRecheck(r.Ctx, recheck))
	r.holds("p", recheck)
}

func TestRecheckKeepsAttemptsOfALaterNotification(t *testing.T) {
	t.Parallel()
	r := setup(t)
	old := scheduled("p", 9, 3)
	r.Must(r.store.Schedule(r.Ctx, old))
	recheck := scheduled("p", 6, 0)
	recheck.Cause, recheck.Reason, recheck.FirstFailure, recheck.DueAt = order.CauseRecheck, "recheck", nil, far(-1)
	r.Must(r.store.ScheduleRecheck(r.Ctx, recheck))
	want := recheck
	want.Covers, want.Notification, want.NotifiedAt = 9, old.Notification, old.NotifiedAt
	want.Attempts, want.FirstFailure, want.Expedited = 3, old.FirstFailure, true
	r.holds("p", want)
}

func TestConflictIsDecidedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		put  func(*retry.Store, *rig, record.ScheduledLookUp) error
		want func(mine, theirs record.ScheduledLookUp) record.ScheduledLookUp
	}{
		"first": {verbs["first"], func(_, theirs record.ScheduledLookUp) record.ScheduledLookUp { return theirs }},
		"again": {verbs["again"], func(mine, theirs record.ScheduledLookUp) record.ScheduledLookUp {
			mine.Covers, mine.Notification, mine.NotifiedAt = theirs.Covers, theirs.Notification, theirs.NotifiedAt
			return mine
		}},
		"follow": {verbs["follow"], func(mine, theirs record.ScheduledLookUp) record.ScheduledLookUp {
			mine.Covers, mine.Notification, mine.NotifiedAt = theirs.Covers, theirs.Notification, theirs.NotifiedAt
			mine.Attempts, mine.FirstFailure = theirs.Attempts, theirs.FirstFailure
			return mine // Due later than the others, so not expedited.
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			mine, theirs := scheduled("p", 7, 2), scheduled("p", 8, 1)
			store := r.overtaken(
				func() { r.Must(r.store.Schedule(r.Ctx, scheduled("p", 6, 1))) },
				func() { r.Must(r.store.Schedule(r.Ctx, theirs)) },
			)
			r.Must(c.put(store, r, mine))
			r.holds("p", c.want(mine, theirs))
		})
	}
}

func TestConflictWithADeliverySchedulesAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Schedule(r.Ctx, scheduled("p", 5, 3)))
	store := r.overtaken(func() { r.Must(r.store.Cancel(r.Ctx, r.read("p"))) }) // As its delivery does.
	fresh := scheduled("p", 7, 0)
	r.Must(store.Schedule(r.Ctx, fresh))
	r.holds("p", fresh)
}

func TestEndlessConflictsAreAnError(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var moves []func()
	for i := range 30 {
		moves = append(moves, func() { r.Must(r.store.Schedule(r.Ctx, scheduled("p", uint64(i+1), 0))) })
	}
	if err := r.overtaken(moves...).Reschedule(r.Ctx, scheduled("p", 1, 1)); !errors.Is(err, stream.ErrContended) {
		t.Errorf("error is %v", err)
	}
}

func TestConcurrentSchedulesKeepOneForTheHighest(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			if err := r.store.Schedule(r.Ctx, scheduled("p", uint64(i+1), 0)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := r.read("p").Parked.Covers; got != 50 {
		t.Errorf("it stands for %d, want 50", got)
	}
	if n := r.stored(); n != 1 {
		t.Errorf("%d messages are stored, want one schedule", n)
	}
}

func TestCancelRemovesOnlyWhatWasRead(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Cancel(r.Ctx, retry.Entry{}))
	r.Must(r.store.Schedule(r.Ctx, scheduled("p", 5, 0)))
	entry := r.read("p")
	r.Must(r.store.Reschedule(r.Ctx, scheduled("p", 5, 1)))
	r.Must(r.store.Cancel(r.Ctx, entry)) // It was replaced.
	r.holds("p", scheduled("p", 5, 1))
	entry = r.read("p")
	for range 2 { // The second time it no longer exists.
		r.Must(r.store.Cancel(r.Ctx, entry))
		if left := r.read("p"); left.Sequence != 0 {
			t.Errorf("after a cancel %+v is parked", left)
		}
	}
}

func TestCancelWithoutBrokerIsAnError(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Schedule(r.Ctx, scheduled("p", 5, 0)))
	entry := r.read("p")
	r.Stop()
	ctx, cancel := context.WithTimeout(r.Ctx, time.Second)
	defer cancel()
	if err := r.store.Cancel(ctx, entry); err == nil {
		t.Error("a cancel without a broker is said to have worked")
	}
}
