package topology_test

import (
	"reflect"
	"slices"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

// fill stores so many bytes and some more.
func fill(t *testing.T, b *testbench.Broker, on string, bytes int) {
	t.Helper()
	for left := bytes; left > 0; left -= 1 << 16 {
		if _, err := b.JS.Publish(testbench.Context(t), on, make([]byte, 1<<16)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestShrinksNamesWhatWouldNotFit(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, settings.Providers...)
	ctx := testbench.Context(t)
	fill(t, b, "audit.x", 1<<20)
	fill(t, b, "statuses.a.b.c", 1<<20)
	if got, err := topology.Shrinks(ctx, b.JS, settings); err != nil || len(got) != 0 {
		t.Errorf("what is there shrinks: %v, %v", got, err)
	}
	small := settings
	small.Store = 4 << 20
	got, err := topology.Shrinks(ctx, b.JS, small)
	if err != nil || len(got) != 2 {
		t.Fatalf("it shrinks %+v, %v", got, err)
	}
	for i, want := range []topology.Shrinking{
		{Stream: subject.Statuses, Gets: small.Store / 100 * 13, Loss: "it would refuse every message"},
		{Stream: subject.Audit, Gets: small.Store / 100 * 3, Loss: "the oldest messages would be removed"},
	} {
		stream, err := b.JS.Stream(ctx, want.Stream)
		testbench.Must(t, err)
		want.Setting, want.Has, want.Enough = topology.Store, int64(stream.CachedInfo().State.Bytes), got[i].Enough
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("it shrinks %+v, want %+v", got[i], want)
		}
	}
	// What it says is enough is so, and a whole percent less is not.
	for _, one := range got {
		for store, want := range map[int64]bool{one.Enough: false, one.Enough - 100: true} {
			s := small
			s.Store = store
			left, err := topology.Shrinks(ctx, b.JS, s)
			testbench.Must(t, err)
			if shrinks := slices.ContainsFunc(left, func(l topology.Shrinking) bool { return l.Stream == one.Stream }); shrinks != want {
				t.Errorf("with a store of %d, %s shrinks: %v", store, one.Stream, shrinks)
			}
		}
	}
}

// What is full already is only made larger.
func TestShrinksLeavesWhatGrowsAlone(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, settings.Providers...)
	ctx := testbench.Context(t)
	fill(t, b, "statuses.a.b.c", 1<<20)
	narrow := topology.Streams(settings)[2]
	narrow.MaxBytes = 1 << 19
	if _, err := b.JS.UpdateStream(ctx, narrow); err != nil {
		t.Fatal(err)
	}
	grows := settings
	grows.Store = 6 << 20 // Still less than it holds.
	if got, err := topology.Shrinks(ctx, b.JS, grows); err != nil || len(got) != 0 {
		t.Errorf("it shrinks %+v, %v", got, err)
	}
}
