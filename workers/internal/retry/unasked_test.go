package retry_test

import (
	"testing"

	"arauto/schemas/record"
)

// unasked is a notification's fresh look-up that a limit kept from being made.
func unasked(stands uint64, hours int) record.ScheduledLookUp {
	p := scheduled("p", stands, 0)
	p.Reason, p.FirstFailure, p.DueAt = "circuit", nil, far(hours)
	return p
}

// early is a scheduled retry at the due time of an unasked one.
func early(retry, unasked record.ScheduledLookUp) record.ScheduledLookUp {
	retry.Covers, retry.Notification, retry.NotifiedAt = unasked.Covers, unasked.Notification, unasked.NotifiedAt
	retry.DueAt, retry.Reason, retry.Expedited = unasked.DueAt, unasked.Reason, true
	return retry
}

func TestUnaskedIsDueAtTheEarlierTimeAndKeepsAttempts(t *testing.T) {
	t.Parallel()
	r := setup(t)
	retry := scheduled("p", 5, 3)
	r.Must(r.store.Schedule(r.Ctx, retry))
	r.Must(r.store.ScheduleUnasked(r.Ctx, unasked(7, 4))) // Later than the retry.
	want := retry
	want.Covers, want.Notification, want.NotifiedAt = 7, unasked(7, 4).Notification, unasked(7, 4).NotifiedAt
	r.holds("p", want)
	r.Must(r.store.ScheduleUnasked(r.Ctx, unasked(8, -12)))
	r.holds("p", early(retry, unasked(8, -12)))
	if got := r.raw("p").Header.Get("Nats-Schedule"); got != "@at 2099-01-01T15:04:05.678901234Z" {
		t.Errorf("the schedule became %q", got)
	}
}

func TestUnaskedMovesNothingThatCoversIt(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.Schedule(r.Ctx, scheduled("p", 7, 3))) // Its look-up was made and failed.
	r.Must(r.store.ScheduleUnasked(r.Ctx, unasked(7, -12)))
	r.Must(r.store.ScheduleUnasked(r.Ctx, unasked(6, -12)))
	r.holds("p", scheduled("p", 7, 3))
}

func TestUnaskedKeepsTheDueTimeOfTheSameLimit(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Must(r.store.ScheduleUnasked(r.Ctx, unasked(5, 2)))
	r.Must(r.store.ScheduleUnasked(r.Ctx, unasked(7, 1)))
	want := unasked(7, 2)
	want.Expedited = true
	r.holds("p", want)
}

func TestRescheduleKeepsTheDueTimeOfAnUnaskedOne(t *testing.T) {
	t.Parallel()
	r := setup(t)
	fired := scheduled("p", 5, 2)
	r.Must(r.store.ScheduleUnasked(r.Ctx, unasked(7, -12)))
	for range 2 { // A redelivery changes nothing.
		r.Must(r.store.Reschedule(r.Ctx, fired))
		r.holds("p", early(fired, unasked(7, -12)))
	}
	sooner := fired
	sooner.DueAt = far(-20)
	r.Must(r.store.Reschedule(r.Ctx, sooner)) // At its own due time.
	want := early(sooner, unasked(7, -20))
	want.Reason, want.Expedited = fired.Reason, false
	r.holds("p", want)
}

// The retry is delivered, fails and is scheduled again between the read and the write of
// the unasked one; and the other way round.
func TestUnaskedAndRescheduledConflict(t *testing.T) {
	t.Parallel()
	fired := scheduled("p", 5, 3)
	want := early(fired, unasked(7, -12))
	t.Run("held", func(t *testing.T) {
		t.Parallel()
		r := setup(t)
		store := r.overtaken(func() { r.Must(r.store.Reschedule(r.Ctx, fired)) })
		r.Must(store.ScheduleUnasked(r.Ctx, unasked(7, -12)))
		r.holds("p", want)
	})
	t.Run("fired", func(t *testing.T) {
		t.Parallel()
		r := setup(t)
		store := r.overtaken(func() { r.Must(r.store.ScheduleUnasked(r.Ctx, unasked(7, -12))) })
		r.Must(store.Reschedule(r.Ctx, fired))
		r.holds("p", want)
	})
	t.Run("held, against a firing", func(t *testing.T) {
		t.Parallel()
		r := setup(t)
		r.Must(r.store.Schedule(r.Ctx, fired))
		store := r.overtaken(func() { r.Must(r.store.Cancel(r.Ctx, r.read("p"))) }) // As its delivery does.
		r.Must(store.ScheduleUnasked(r.Ctx, unasked(7, -12)))
		alone := unasked(7, -12)
		alone.Expedited = true
		r.holds("p", alone)
	})
}
