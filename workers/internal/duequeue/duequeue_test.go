package duequeue_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/workers/internal/duequeue"
)

func TestTheEarliestComesFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		want := rapid.SliceOf(rapid.Int64Range(0, 1000)).Draw(r, "times")
		var a duequeue.Queue
		for sequence, at := range want {
			a.Add(uint64(sequence), time.Unix(at, 0)) //nolint:gosec // An index.
		}
		times := slices.Clone(want)
		slices.Sort(want)
		for _, at := range want {
			sequence, got, ok := a.First()
			if !ok || got.Unix() != at || times[sequence] != at {
				r.Fatalf("message %d at %v comes first, want one at %d", sequence, got, at)
			}
			a.Drop()
		}
		if _, _, ok := a.First(); ok {
			r.Fatal("something is left")
		}
	})
}
