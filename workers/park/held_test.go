package park_test

import (
	"reflect"
	"testing"
	"time"

	"arauto/schemas/record"
)

// held is a fresh look-up that a gate holds back for a moment.
func held(stands uint64, due time.Time) record.Parked {
	p := waiting("p", stands, 0)
	p.FirstFailure, p.Waits, p.DueAt = nil, "circuit", due
	return p
}

func TestHeldLookUpIsParked(t *testing.T) {
	t.Parallel()
	r := setup(t)
	p := held(5, far(0))
	r.must(r.lot.Held(r.ctx, p))
	r.holds("p", p)
}

func TestHeldLookUpDoesNotWaitForAnOldRetry(t *testing.T) {
	t.Parallel()
	r := setup(t)
	old := waiting("p", 5, 3)
	r.must(r.lot.First(r.ctx, old))
	fresh := held(7, far(-100))
	r.must(r.lot.Held(r.ctx, fresh))
	want := old
	want.For, want.Notification, want.NotifiedAt = 7, fresh.Notification, fresh.NotifiedAt
	want.DueAt, want.Waits, want.Early = fresh.DueAt, "circuit", true
	r.holds("p", want)
	// The same notification delivered again, a little later, changes nothing.
	before := r.look("p")
	r.must(r.lot.Held(r.ctx, held(7, far(-99))))
	if after := r.look("p"); !reflect.DeepEqual(after, before) {
		t.Errorf("parked was %+v and is %+v", before, after)
	}
}

func TestHeldLookUpLeavesWhatComesSoonerAlone(t *testing.T) {
	t.Parallel()
	r := setup(t)
	old := waiting("p", 5, 3)
	r.must(r.lot.First(r.ctx, old))
	fresh := held(7, far(100))
	r.must(r.lot.Held(r.ctx, fresh))
	want := old
	want.For, want.Notification, want.NotifiedAt = 7, fresh.Notification, fresh.NotifiedAt
	r.holds("p", want)
}

func TestHeldLookUpThatLosesTheRaceKeepsTheWinnersBudget(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.must(r.lot.First(r.ctx, waiting("p", 5, 1)))
	winner := waiting("p", 6, 2)
	lot := r.overtaken(func() { r.must(r.lot.Again(r.ctx, winner)) })
	fresh := held(7, far(-100))
	r.must(lot.Held(r.ctx, fresh))
	want := winner
	want.For, want.Notification, want.NotifiedAt = 7, fresh.Notification, fresh.NotifiedAt
	want.DueAt, want.Waits, want.Early = fresh.DueAt, "circuit", true
	r.holds("p", want)
}
