package fold_test

import (
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
	"arauto/workers/internal/deadletter"
)

// A dead letter is marked on a machine whose clock is slow, so the mark is older than
// the observation that it covers.
func TestMarkFromASlowClockBlocksNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fold := func(word string, refunded int64) {
		t.Helper()
		testbench.Must(t, b.worker(t, b.JS).Handle(b.Ctx, b.observe(t, "o-1", word, refunded)))
	}
	fold("refunded", 10000)
	fold("bogus", 0)
	dead, err := deadletter.Open(b.Ctx, b.JS)
	testbench.Must(t, err)
	var open deadletter.Entry
	if err := dead.Each(b.Ctx, "dead.>", 1, func(l deadletter.Entry) error { open = l; return nil }); err != nil {
		t.Fatal(err)
	}
	testbench.Must(t, dead.Mark(b.Ctx, open, record.Discarded, "ana@desk", time.Now().Add(-time.Hour)))
	fold("refunded", 10000) // A worker without a cache folds both again.
	if deadLetters := b.deadLetters(t, "o-1"); len(deadLetters) != 2 {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}
