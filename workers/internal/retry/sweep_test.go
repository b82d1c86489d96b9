package retry_test

import (
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

// swept is a look-up that the sweep has parked for some time within hours.
func swept(hours int) record.ScheduledLookUp {
	p := waiting("p", 0, 0)
	p.Cause, p.Reason, p.Notification, p.NotifiedAt, p.FirstFailure, p.DueAt = order.CauseSweep, "sweep", "", nil, nil, far(hours)
	return p
}

// The sweep may put a look-up off for hours, because nobody waits for it.
func TestFreshFailureDoesNotWaitForTheSweep(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.must(r.lot.Schedule(r.ctx, swept(60)))
	fresh := waiting("p", 7, 0)
	r.must(r.lot.Schedule(r.ctx, fresh))
	r.holds("p", fresh)
}

// A policy may begin with hours, when the sweep's look-up is due in seconds.
func TestFreshFailureLeavesTheSweepsLookUpWhereThatIsDueSooner(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.must(r.lot.Schedule(r.ctx, swept(-9)))
	fresh := waiting("p", 7, 0)
	r.must(r.lot.Schedule(r.ctx, fresh))
	want := swept(-9)
	want.Cause, want.Covers, want.Notification, want.NotifiedAt = order.CauseNotification, 7, fresh.Notification, fresh.NotifiedAt
	r.holds("p", want)
}

func TestFreshFailureKeepsWhatTheSweepsLookUpHasSpent(t *testing.T) {
	t.Parallel()
	for name, spend := range map[string]func(*record.ScheduledLookUp){
		"attempts": func(p *record.ScheduledLookUp) { p.Attempts, p.FirstFailure = 2, waiting("p", 0, 2).FirstFailure },
		"looks":    func(p *record.ScheduledLookUp) { p.NotFound = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			want := swept(60)
			spend(&want)
			r.must(r.lot.Schedule(r.ctx, want))
			fresh := waiting("p", 7, 0)
			r.must(r.lot.Schedule(r.ctx, fresh))
			want.Cause, want.Covers, want.Notification, want.NotifiedAt = order.CauseNotification, 7, fresh.Notification, fresh.NotifiedAt
			r.holds("p", want)
		})
	}
}

// As a sweep's it would have no rechecks, whatever it stands for.
func TestLookUpOfTheSweepBecomesThatOfTheNotificationThatIsHeld(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(*rig, record.ScheduledLookUp) error{
		"held":   func(r *rig, p record.ScheduledLookUp) error { return r.lot.ScheduleUnasked(r.ctx, p) },
		"joined": func(r *rig, p record.ScheduledLookUp) error { return r.lot.ExtendCoverage(r.ctx, p) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.must(r.lot.Schedule(r.ctx, swept(60)))
			r.must(put(r, held(7, 1)))
			want := early(swept(60), held(7, 1))
			want.Cause = order.CauseNotification
			r.holds("p", want)
		})
	}
}
