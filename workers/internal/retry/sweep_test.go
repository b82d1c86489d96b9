package retry_test

import (
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/record"
)

// swept is a sweep's look-up that is due within hours.
func swept(hours int) record.ScheduledLookUp {
	p := scheduled("p", 0, 0)
	p.Cause, p.Reason, p.Notification, p.NotifiedAt, p.FirstFailure, p.DueAt = order.CauseSweep, "sweep", "", nil, nil, far(hours)
	return p
}

// A sweep's look-up may be due in hours, because it is not urgent.
func TestScheduleReplacesALaterSweep(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Schedule(r.Ctx, swept(60)))
	fresh := scheduled("p", 7, 0)
	r.Must(r.store.Schedule(r.Ctx, fresh))
	r.holds("p", fresh)
}

// A policy's first offset may be hours, while the sweep's look-up is due in seconds.
func TestScheduleKeepsASoonerSweep(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Schedule(r.Ctx, swept(-9)))
	fresh := scheduled("p", 7, 0)
	r.Must(r.store.Schedule(r.Ctx, fresh))
	want := swept(-9)
	want.Cause, want.Covers, want.Notification, want.NotifiedAt = order.CauseNotification, 7, fresh.Notification, fresh.NotifiedAt
	r.holds("p", want)
}

func TestScheduleKeepsTheSweepsAttempts(t *testing.T) {
	t.Parallel()
	for name, spend := range map[string]func(*record.ScheduledLookUp){
		"attempts":  func(p *record.ScheduledLookUp) { p.Attempts, p.FirstFailure = 2, scheduled("p", 0, 2).FirstFailure },
		"not found": func(p *record.ScheduledLookUp) { p.NotFound = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			want := swept(60)
			spend(&want)
			r.Must(r.store.Schedule(r.Ctx, want))
			fresh := scheduled("p", 7, 0)
			r.Must(r.store.Schedule(r.Ctx, fresh))
			want.Cause, want.Covers, want.Notification, want.NotifiedAt = order.CauseNotification, 7, fresh.Notification, fresh.NotifiedAt
			r.holds("p", want)
		})
	}
}

// A sweep's look-up has no rechecks, whatever it covers.
func TestUnaskedNotificationTakesOverTheSweep(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(*rig, record.ScheduledLookUp) error{
		"held":   func(r *rig, p record.ScheduledLookUp) error { return r.store.ScheduleUnasked(r.Ctx, p) },
		"joined": func(r *rig, p record.ScheduledLookUp) error { return r.store.ExtendCoverage(r.Ctx, p) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.Must(r.store.Schedule(r.Ctx, swept(60)))
			r.Must(put(r, unasked(7, 1)))
			want := early(swept(60), unasked(7, 1))
			want.Cause = order.CauseNotification
			r.holds("p", want)
		})
	}
}
