package retry_test

import (
	"testing"

	"arauto/schemas/record"
)

// held is a fresh look-up for a notification that a gate kept from being made.
func held(stands uint64, hours int) record.ScheduledLookUp {
	p := waiting("p", stands, 0)
	p.Reason, p.FirstFailure, p.DueAt = "circuit", nil, far(hours)
	return p
}

// early is a parked retry that comes due where a held one was to.
func early(retry, held record.ScheduledLookUp) record.ScheduledLookUp {
	retry.Covers, retry.Notification, retry.NotifiedAt = held.Covers, held.Notification, held.NotifiedAt
	retry.DueAt, retry.Reason, retry.Expedited = held.DueAt, held.Reason, true
	return retry
}

func TestHeldLookUpComesDueAtTheEarlierTimeAndKeepsTheBudget(t *testing.T) {
	t.Parallel()
	r := setup(t)
	retry := waiting("p", 5, 3)
	r.must(r.lot.Schedule(r.ctx, retry))
	r.must(r.lot.ScheduleUnasked(r.ctx, held(7, 4))) // Later than the retry.
	want := retry
	want.Covers, want.Notification, want.NotifiedAt = 7, held(7, 4).Notification, held(7, 4).NotifiedAt
	r.holds("p", want)
	r.must(r.lot.ScheduleUnasked(r.ctx, held(8, -12)))
	r.holds("p", early(retry, held(8, -12)))
	if got := r.raw("p").Header.Get("Nats-Schedule"); got != "@at 2099-01-01T15:04:05.678901234Z" {
		t.Errorf("the schedule became %q", got)
	}
}

func TestHeldLookUpMovesNothingThatStandsForItAlready(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.must(r.lot.Schedule(r.ctx, waiting("p", 7, 3))) // It was asked for, and failed.
	r.must(r.lot.ScheduleUnasked(r.ctx, held(7, -12)))
	r.must(r.lot.ScheduleUnasked(r.ctx, held(6, -12)))
	r.holds("p", waiting("p", 7, 3))
}

func TestHeldLookUpKeepsItsPlaceBeforeTheSameGate(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.must(r.lot.ScheduleUnasked(r.ctx, held(5, 2)))
	r.must(r.lot.ScheduleUnasked(r.ctx, held(7, 1)))
	want := held(7, 2)
	want.Expedited = true
	r.holds("p", want)
}

func TestFiredFailureLeavesWhatWasHeldMeanwhileDue(t *testing.T) {
	t.Parallel()
	r := setup(t)
	fired := waiting("p", 5, 2)
	r.must(r.lot.ScheduleUnasked(r.ctx, held(7, -12)))
	for range 2 { // Delivered again, it changes nothing.
		r.must(r.lot.Reschedule(r.ctx, fired))
		r.holds("p", early(fired, held(7, -12)))
	}
	sooner := fired
	sooner.DueAt = far(-20)
	r.must(r.lot.Reschedule(r.ctx, sooner)) // In its own time.
	want := early(sooner, held(7, -20))
	want.Reason, want.Expedited = fired.Reason, false
	r.holds("p", want)
}

// The retry fires, fails and parks anew between the read and the write of the
// one that is held; and the other way round.
func TestHeldAndFiredLoseTheRaceToEachOther(t *testing.T) {
	t.Parallel()
	fired := waiting("p", 5, 3)
	want := early(fired, held(7, -12))
	t.Run("held", func(t *testing.T) {
		t.Parallel()
		r := setup(t)
		lot := r.overtaken(func() { r.must(r.lot.Reschedule(r.ctx, fired)) })
		r.must(lot.ScheduleUnasked(r.ctx, held(7, -12)))
		r.holds("p", want)
	})
	t.Run("fired", func(t *testing.T) {
		t.Parallel()
		r := setup(t)
		lot := r.overtaken(func() { r.must(r.lot.ScheduleUnasked(r.ctx, held(7, -12))) })
		r.must(lot.Reschedule(r.ctx, fired))
		r.holds("p", want)
	})
	t.Run("held, against a firing", func(t *testing.T) {
		t.Parallel()
		r := setup(t)
		r.must(r.lot.Schedule(r.ctx, fired))
		lot := r.overtaken(func() { r.must(r.lot.Cancel(r.ctx, r.look("p"))) }) // Firing removes it just so.
		r.must(lot.ScheduleUnasked(r.ctx, held(7, -12)))
		alone := held(7, -12)
		alone.Expedited = true
		r.holds("p", alone)
	})
}
