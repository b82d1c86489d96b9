package stream_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
)

func TestEachFewVisitsWhatEachVisits(t *testing.T) {
	t.Parallel()
	b, s := numbers(t)
	ctx := testbench.Context(t)
	rapid.Check(t, func(t *rapid.T) {
		if err := s.Purge(ctx); err != nil {
			t.Fatal(err)
		}
		var stored []uint64
		for _, on := range rapid.SliceOfN(rapid.SampledFrom([]string{"n.a.x", "n.b.x", "n.c.x", "n.a.y"}), 0, 12).Draw(t, "subjects") {
			ack, err := b.JS.Publish(ctx, on, nil)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, ack.Sequence)
		}
		above := uint64(0)
		if len(stored) > 0 {
			for _, gone := range rapid.SliceOfNDistinct(rapid.SampledFrom(stored), 0, len(stored)/2, rapid.ID).Draw(t, "deleted") {
				if err := s.DeleteMsg(ctx, gone); err != nil {
					t.Fatal(err)
				}
			}
			above = rapid.SampledFrom(append(stored, 0)).Draw(t, "above")
		}
		filter := rapid.SampledFrom([]string{"n.*.x", "n.a.*", "n.a.x", "n.none"}).Draw(t, "filter")
		var want, got []uint64
		_, err := stream.Each(ctx, s, filter, above, into(&want))
		if err := errors.Join(err, stream.EachFew(ctx, s, filter, above, into(&got))); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s above %d: visited %v, want %v", filter, above, got, want)
		}
	})
}

func TestEachNewestVisitsTheEndOfWhatEachVisits(t *testing.T) {
	t.Parallel()
	b, s := numbers(t)
	ctx := testbench.Context(t)
	rapid.Check(t, func(t *rapid.T) {
		if err := s.Purge(ctx); err != nil {
			t.Fatal(err)
		}
		for _, on := range rapid.SliceOfN(rapid.SampledFrom([]string{"n.a.x", "n.a.y", "n.b.x", "n.c.x"}), 0, 40).Draw(t, "subjects") {
			if _, err := b.JS.Publish(ctx, on, nil); err != nil {
				t.Fatal(err)
			}
		}
		filter, most := rapid.SampledFrom([]string{"n.*.x", "n.a.*", "n.a.x", "n.none"}).Draw(t, "filter"), rapid.IntRange(1, 12).Draw(t, "most")
		var all, got []uint64
		_, err := stream.Each(ctx, s, filter, 0, into(&all))
		older, failed := stream.EachNewest(ctx, s, filter, uint64(most), into(&got))
		if err := errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		least := min(len(all), most)
		if len(all) > most {
			least = (most + 1) / 2
		}
		if older != (len(all) > most) || len(got) > most || len(got) < least || !slices.Equal(got, all[len(all)-len(got):]) {
			t.Fatalf("%s, at most %d: visited %v of %v, older %t", filter, most, got, all, older)
		}
	})
}

// into appends the sequence of each message.
func into(all *[]uint64) func(*jetstream.RawStreamMsg) (bool, error) {
	return func(raw *jetstream.RawStreamMsg) (bool, error) {
		*all = append(*all, raw.Sequence)
		return true, nil
	}
}

// during is a stream with other writers.
type during struct {
	jetstream.Stream
	write func()
}

func (d during) Info(ctx context.Context, o ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	d.write()
	info, err := d.Stream.Info(ctx, o...)
	d.write()
	return info, err
}

// A message that is stored meanwhile may be on a subject that was read already, and the
// one after it on a subject that was not. So neither is visited.
func TestEachFewVisitsNothingThatIsStoredMeanwhile(t *testing.T) {
	t.Parallel()
	b, s := numbers(t, "n.a", "n.b", "n.a")
	ctx := testbench.Context(t)
	var got []uint64
	testbench.Must(t, stream.EachFew(ctx, during{s, func() {
		for _, on := range []string{"n.a", "n.b", "n.c"} {
			_, err := b.JS.Publish(ctx, on, nil)
			testbench.Must(t, err)
		}
	}}, "n.*", 0, into(&got)))
	if !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Errorf("visited %v, want the first three", got)
	}
}

func TestEachFewStopsWhenItIsAskedTo(t *testing.T) {
	t.Parallel()
	_, s := numbers(t, "n.a", "n.b", "n.a")
	ctx := testbench.Context(t)
	visited, failed := 0, errors.New("no")
	for _, end := range []error{nil, failed} {
		err := stream.EachFew(ctx, s, "n.*", 0, func(*jetstream.RawStreamMsg) (bool, error) { visited++; return false, end })
		if err != end { //nolint:errorlint // The very error.
			t.Errorf("ended with %v, want %v", err, end)
		}
	}
	if visited != 2 {
		t.Errorf("visited %d, want one each time", visited)
	}
}
