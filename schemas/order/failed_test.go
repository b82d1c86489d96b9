package order_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/schemas/order"
)

func TestFailedLookUpsAreJoinedByTimeAndCapped(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	draw := func(t *rapid.T, name string) []order.FailedLookUp {
		minutes := rapid.SliceOfNDistinct(rapid.IntRange(0, 30), 0, 20, rapid.ID[int]).Draw(t, name)
		slices.Sort(minutes)
		var list []order.FailedLookUp
		for _, m := range minutes {
			list = append(list, order.FailedLookUp{At: noon.Add(time.Duration(m) * time.Minute), Error: strings.Repeat("x", 10*m)})
		}
		return list
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		want := map[time.Time]bool{}
		for _, f := range slices.Concat(a, b) {
			want[f.At] = true
		}
		first, last := time.Time{}, time.Time{}
		for at := range want {
			if first.IsZero() || at.Before(first) {
				first = at
			}
			if at.After(last) {
				last = at
			}
		}
		got := order.JoinFailed(a, b)
		if len(b) > 0 && len(got) != min(len(want), 12) {
			t.Fatalf("%d of %d are kept", len(got), len(want))
		}
		for i, f := range got {
			if !want[f.At] || i > 0 && !f.At.After(got[i-1].At) || len(b) > 0 && len(f.Error) > 200 {
				t.Fatalf("number %d is %+v", i, f)
			}
		}
		if len(want) > 0 && (!got[0].At.Equal(first) || !got[len(got)-1].At.Equal(last)) {
			t.Fatalf("the first or the last is not kept: %v to %v", got[0].At, got[len(got)-1].At)
		}
	})
}
