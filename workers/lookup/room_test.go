package lookup_test

import (
	"net/http"
	"strings"
	"testing"

	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// A lot of a hundred bytes is full as soon as anything is parked.
func TestFullLotRefusesWhatWouldFillItMore(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	r.handle(r.notify("parked"))
	r.lot.SetLimit(100, 0)
	fresh := r.notify("fresh")
	r.handle(fresh)
	letters := r.letters()
	if len(letters) != 1 || letters[0].Sequence != fresh.sequence || letters[0].Class != record.ClassProvider ||
		letters[0].LastAnswer != "unavailable" || !strings.Contains(letters[0].Cause, retry.ErrFull.Error()) {
		t.Errorf("letters are %+v", letters)
	}
	r.fire("parked") // It is in the lot already.
	later := r.notify("parked")
	r.handle(later) // And so is its place.
	if p := r.place("parked"); p.Attempts != 1 || p.Covers != later.sequence || len(r.letters()) != 1 {
		t.Errorf("parked is %+v, letters are %+v", p, r.letters())
	}
}

// What is known goes on where the others are refused.
func TestFullLotStillTakesKnownPayments(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.says("refunded", 10000, 10000)
	r.handle(r.notify("known"))
	r.fails(http.StatusBadGateway)
	r.handle(r.notify("parked"))
	r.lot.SetLimit(r.bytes()*100/85, 0)
	r.handle(r.notify("fresh"))
	r.handle(r.notify("known"))
	if letters := r.letters(); len(letters) != 1 || letters[0].Payment != "fresh" || r.parked("known").Sequence == 0 {
		t.Errorf("letters are %+v, parked is %+v", letters, r.parked("known"))
	}
}

// So that it empties, whoever filled it.
func TestFullLotGivesUpUnknownPayments(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	m := r.notify("p")
	r.handle(m)
	r.handle(r.notify("q"))
	r.lot.SetLimit(100, 0)
	r.fire("p")
	letters := r.letters()
	if len(letters) != 1 || letters[0].Sequence != m.sequence || letters[0].Class != record.ClassData || r.parked("p").Sequence != 0 {
		t.Errorf("letters are %+v, parked is %+v", letters, r.parked("p"))
	}
}
