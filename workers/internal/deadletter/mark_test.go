package deadletter_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"arauto/schemas/record"
	"arauto/schemas/schematest"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// find reads the latest state of a dead letter.
func (r *rig) find(id string) (found deadletter.Entry) {
	r.T.Helper()
	r.Must(r.store.Each(r.Ctx, "dead.>", 1, func(l deadletter.Entry) error {
		if l.ID == id {
			found = l
		}
		return nil
	}))
	return found
}

func TestMarkKeepsTheHighestReportedObservation(t *testing.T) {
	t.Parallel()
	r := setup(t)
	older, younger := letter(7, record.ClassData), letter(9, record.ClassProvider)
	r.Must(r.store.Put(r.Ctx, unit, older, older.ID, upTo(7)))
	r.Must(r.store.Put(r.Ctx, unit, younger, younger.ID, upTo(9)))
	now := time.Now().UTC()
	r.Must(r.store.Mark(r.Ctx, r.find(older.ID), record.Discarded, "ana@desk", now))
	if got := r.find(older.ID); got.State != record.Discarded || got.By != "ana@desk" || !got.MarkedAt.Equal(now) || got.Observation != 7 || got.Reported() != 9 {
		t.Errorf("marker is %+v", got)
	}
	if got := r.find(younger.ID); got.State != record.Open {
		t.Errorf("the other dead letter is %q", got.State)
	}
	r.Must(r.store.Put(r.Ctx, unit, letter(8, record.ClassData), letter(8, record.ClassData).ID, func(last deadletter.Entry) bool { return last.Reported() >= 8 }))
	if got := r.find(letter(8, record.ClassData).ID); got.ID != "" {
		t.Errorf("observation 8 was reported again: %+v", got)
	}
}

func TestConcurrentMarksStoreOne(t *testing.T) {
	t.Parallel()
	r := setup(t)
	l := letter(7, record.ClassData)
	r.Must(r.store.Put(r.Ctx, unit, l, l.ID, upTo(7)))
	open := r.find(l.ID)
	results := make([]error, 8)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() { results[i] = r.store.Mark(r.Ctx, open, record.Redriven, "ana@desk", time.Now()) })
	}
	all.Wait()
	done := 0
	for _, err := range results {
		if err == nil {
			done++
		} else if !errors.Is(err, deadletter.ErrNotOpen) {
			t.Errorf("unexpected: %v", err)
		}
	}
	if stored, _ := r.stored(); done != 1 || len(stored) != 2 {
		t.Errorf("%d marks succeeded, %d dead letters are stored", done, len(stored))
	}
}

func TestFailureAfterRedriveOpensAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	l := letter(7, record.ClassProvider)
	same := deadletter.SameID(l.ID)
	r.Must(r.store.Put(r.Ctx, unit, l, "NOTIFICATIONS-7", same))
	first := r.find(l.ID)
	r.Must(r.store.Mark(r.Ctx, first, record.Redriven, "ana@desk", time.Now()))
	l.Attempts = 11
	for range 2 { // A redelivery changes nothing.
		r.Must(r.store.Put(r.Ctx, unit, l, "LOOKUP_RETRIES-3", same))
	}
	again := r.find(l.ID)
	if again.State != record.Open || again.Attempts != 11 || again.Sequence != first.Sequence+2 {
		t.Errorf("the dead letter is %+v", again)
	}
	if err := r.store.Mark(r.Ctx, first, record.Redriven, "ana@desk", time.Now()); !errors.Is(err, deadletter.ErrFailedAgain) {
		t.Errorf("a mark of the state before it failed again gives %v", err)
	}
	r.Must(r.store.Mark(r.Ctx, again, record.Discarded, "ana@desk", time.Now()))
	r.Must(r.store.Put(r.Ctx, unit, l, "LOOKUP_RETRIES-4", same))
	if got := r.find(l.ID); got.State != record.Discarded {
		t.Errorf("what was discarded is %q", got.State)
	}
	reported, err := r.store.Reported(r.Ctx, unit, l.Stage)
	if err != nil || !reported.IDs[l.ID] {
		t.Errorf("reported are %v, %v", reported, err)
	}
}

// The same id names another message when its stream was created again.
func TestDeadLettersOfTwoIncarnationsAreTwo(t *testing.T) {
	t.Parallel()
	r := setup(t)
	l := letter(7, record.ClassData)
	same := deadletter.SameID(l.ID)
	put := func(observation uint64) string {
		l := letter(observation, record.ClassData)
		r.Must(r.store.Put(r.Ctx, unit, l, l.ID, func(last deadletter.Entry) bool { return last.Reported() >= observation }))
		return l.ID
	}
	put(7)
	put(9)
	r.Recreate(subject.Statuses)
	for range 2 {
		r.Must(r.store.Put(r.Ctx, unit, l, l.ID, same))
	}
	latest := func() []deadletter.Entry {
		letters, err := r.store.Latest(r.Ctx, "dead.>")
		r.Must(err)
		return letters
	}
	letters := latest()
	if len(letters) != 3 || letters[0].ID != letters[2].ID {
		t.Fatalf("dead letters are %+v, want two of the earlier stream and one of the new one", letters)
	}
	r.Must(r.store.Mark(r.Ctx, letters[0], record.Discarded, "ana@desk", time.Now()))
	if after := latest(); len(after) != 3 || after[0].State != record.Discarded || after[2].State != record.Open {
		t.Errorf("after one is discarded they are %+v", after)
	}
	third := put(3) // Behind the mark, which is about the earlier stream.
	r.Must(r.store.Mark(r.Ctx, r.find(third), record.Discarded, "ana@desk", time.Now()))
	if got := r.find(third); got.Reported() != 7 {
		t.Errorf("the new stream's observations are reported up to %d", got.Reported())
	}
}

func TestUnreadableDeadLetterHidesNoOther(t *testing.T) {
	t.Parallel()
	r := setup(t)
	l := letter(7, record.ClassProvider)
	r.Must(r.store.Put(r.Ctx, unit, l, l.ID, upTo(7)))
	_, err := r.JS.Publish(r.Ctx, unit.DeadLetter("ours", l.Stage), []byte("{"))
	r.Must(err)
	reported, err := r.store.Reported(r.Ctx, unit, l.Stage)
	r.Must(err)
	if !reported.IDs[l.ID] || !reported.IDs["DEAD_LETTERS-2"] || len(reported.IDs) != 2 {
		t.Errorf("reported are %v", reported)
	}
	r.Must(r.store.Mark(r.Ctx, r.find(l.ID), record.Redriven, "ana@desk", time.Now()))
	if got := r.find("DEAD_LETTERS-2"); got.Class != record.ClassOurs || got.Stage != l.Stage || got.Unit != unit || got.State != record.Open {
		t.Errorf("it is %+v", got)
	}
}

func TestSchemaKnowsEveryFailure(t *testing.T) {
	t.Parallel()
	for _, cause := range record.Failures() {
		r := setup(t)
		l := letter(7, record.ClassProvider)
		l.LastAnswer = string(cause)
		r.Must(r.store.Put(r.Ctx, unit, l, l.ID, upTo(7))) // The broker's clean-up validates it against the schema.
	}
	if err := schematest.DeadLetter([]byte(`{"id":"STATUSES-1"}`)); err == nil {
		t.Error("the schema accepts a dead letter without anything")
	}
}

// One message can have dead letters of two stages, and of two payments that only the
// subject distinguishes. Each has a state of its own.
func TestLatestSeparatesStagesAndUnits(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first, later, elsewhere := letter(7, record.ClassData), letter(9, record.ClassData), letter(7, record.ClassData)
	elsewhere.Stage = "lookup"
	other := unit
	other.Payment = "other"
	r.Must(r.store.Put(r.Ctx, unit, first, first.ID, never))
	r.Must(r.store.Put(r.Ctx, unit, later, later.ID, never))
	r.Must(r.store.Put(r.Ctx, unit, elsewhere, "elsewhere", never))
	r.Must(r.store.Put(r.Ctx, other, first, "other", never))
	latest := func() []deadletter.Entry {
		letters, err := r.store.Latest(r.Ctx, "dead.>")
		r.Must(err)
		return letters
	}
	r.Must(r.store.Mark(r.Ctx, latest()[0], record.Discarded, "ana@desk", time.Now()))
	var got []string
	for _, l := range latest() {
		got = append(got, l.Unit.Payment+" "+l.Stage+" "+l.ID+" "+string(l.State))
	}
	want := []string{"p normalize STATUSES-7 discarded", "p normalize STATUSES-9 ", "p lookup STATUSES-7 ", "other normalize STATUSES-7 "}
	if !slices.Equal(got, want) {
		t.Errorf("dead letters are %q, want %q", got, want)
	}
}
