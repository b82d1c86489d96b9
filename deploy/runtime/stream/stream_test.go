package stream_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/testbench"
)

// numbers starts a broker with a stream of as many messages as subjects. The body
// of each is its sequence.
func numbers(t *testing.T, subjects ...string) (*testbench.Broker, jetstream.Stream) {
	t.Helper()
	b := testbench.StartEmpty(t)
	ctx := testbench.Context(t)
	s, err := b.JS.CreateStream(ctx, jetstream.StreamConfig{Name: "NUMBERS", Subjects: []string{"n.>"}})
	testbench.Must(t, err)
	for i, on := range subjects {
		if _, err := b.JS.Publish(ctx, on, []byte(strconv.Itoa(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	return b, s
}

func TestEachVisitsInOrderAndGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	_, s := numbers(t, "n.a", "n.b", "n.a", "n.a")
	ctx := testbench.Context(t)
	var seen []uint64
	visit := func(raw *jetstream.RawStreamMsg) (bool, error) {
		if raw.Sequence == 4 && len(seen) < 3 {
			return false, nil
		}
		seen = append(seen, raw.Sequence)
		return true, nil
	}
	above, err := stream.Each(ctx, s, "n.a", 0, visit)
	if err != nil || above != 3 || fmt.Sprint(seen) != "[1 3]" {
		t.Fatalf("visited %v up to %d, %v", seen, above, err)
	}
	seen = append(seen, 0)
	if above, err = stream.Each(ctx, s, "n.a", above, visit); err != nil || above != 4 || fmt.Sprint(seen) != "[1 3 0 4]" {
		t.Errorf("visited %v up to %d, %v", seen, above, err)
	}
	failed := errors.New("no")
	if above, err = stream.Each(ctx, s, "n.>", 1, func(*jetstream.RawStreamMsg) (bool, error) { return true, failed }); !errors.Is(err, failed) || above != 1 {
		t.Errorf("stopped at %d, %v", above, err)
	}
}

// Whatever was removed, and whatever is stored and removed meanwhile, Each visits every message
// that stays, once and in order.
func TestEachMissesNothingWhateverWasRemoved(t *testing.T) {
	t.Parallel()
	subjects := make([]string, 400)
	for i := range subjects {
		subjects[i] = "n." + strconv.Itoa(i%7)
	}
	b, s := numbers(t, subjects...)
	removed := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // Any numbers will do.
	stays := map[uint64]bool{}
	for sequence := uint64(1); sequence <= 400; sequence++ {
		stays[sequence] = true
		dense := sequence < 100 || sequence > 300
		if dense && removed.IntN(10) == 0 || !dense && removed.IntN(20) > 0 {
			testbench.Must(t, s.DeleteMsg(b.Ctx, sequence))
			delete(stays, sequence)
		}
	}
	writing := make(chan error)
	go func() {
		var err error
		for i := 0; i < 300 && err == nil; i++ {
			_, err = b.JS.Publish(b.Ctx, "n.more", nil)
		}
		writing <- err
	}()
	var last uint64
	written := false
	for above := uint64(0); ; {
		var err error
		above, err = stream.Each(b.Ctx, s, stream.All, above, func(raw *jetstream.RawStreamMsg) (bool, error) {
			if raw.Sequence <= last || raw.Sequence > 400 && raw.Sequence != max(last, 400)+1 {
				t.Errorf("%d is visited after %d", raw.Sequence, last)
			}
			last = raw.Sequence
			delete(stays, raw.Sequence)
			return raw.Sequence%50 != 0, nil // It stops there, and goes on with that message.
		})
		testbench.Must(t, err)
		if last%50 == 0 && above < last { // It was refused, so it comes again.
			above = last
		}
		if written && above == 700 {
			break
		}
		select {
		case err := <-writing:
			testbench.Must(t, err)
			written = true
		default:
		}
	}
	if len(stays) != 0 {
		t.Errorf("%d messages were not visited: %v", len(stays), stays)
	}
}

func TestNextAndLastAreNilWhereThereIsNone(t *testing.T) {
	t.Parallel()
	_, s := numbers(t, "n.a", "n.b", "n.a")
	ctx := testbench.Context(t)
	if raw, err := stream.Next(ctx, s, "n.a", 1); err != nil || raw.Sequence != 3 {
		t.Errorf("next is %+v, %v", raw, err)
	}
	if raw, err := stream.Last(ctx, s, "n.b"); err != nil || raw.Sequence != 2 {
		t.Errorf("last is %+v, %v", raw, err)
	}
	next, nextErr := stream.Next(ctx, s, "n.a", 3)
	last, lastErr := stream.Last(ctx, s, "n.c")
	if next != nil || last != nil || nextErr != nil || lastErr != nil {
		t.Errorf("next is %v, %v, last is %v, %v", next, nextErr, last, lastErr)
	}
}

func TestSinceFindsTheFirstMessageOfATime(t *testing.T) {
	t.Parallel()
	_, s := numbers(t, "n.a", "n.b", "n.a", "n.b", "n.a", "n.a", "n.b")
	ctx := testbench.Context(t)
	testbench.Must(t, s.DeleteMsg(ctx, 5))
	for _, sequence := range []uint64{1, 3, 6} {
		raw, err := s.GetMsg(ctx, sequence)
		testbench.Must(t, err)
		found, err := stream.Since(ctx, s, raw.Time, 8)
		testbench.Must(t, err)
		if first, err := stream.Next(ctx, s, stream.All, found-1); err != nil || first.Sequence != sequence {
			t.Errorf("from %d on the first is %v, %v; want %d", found, first, err, sequence)
		}
		if found, err = stream.Since(ctx, s, raw.Time.Add(1), 2); err != nil || found != 2 {
			t.Errorf("the limit is passed: %d, %v", found, err)
		}
	}
}

func TestConflictKnowsBothCodes(t *testing.T) {
	t.Parallel()
	for code, want := range map[jetstream.ErrorCode]bool{10071: true, 10164: true, 10057: false, 0: false} {
		if got := stream.IsConflict(errors.Join(&jetstream.APIError{ErrorCode: code})); got != want {
			t.Errorf("code %d is a conflict: %v", code, got)
		}
	}
	if stream.IsConflict(nil) || stream.IsConflict(errors.New("other")) || !stream.IsConflict(fmt.Errorf("write: %w", stream.ErrConflict)) {
		t.Error("something else is a conflict, or ErrConflict is none")
	}
}

func TestOnlyAWriteInFlightIsWaitedFor(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(context.Background())
	end()
	stale := &jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamWrongLastSequence}
	flying := &jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamWrongLastSequenceConstant}
	if err := stream.WaitAfterConflict(ended, stale); err != nil {
		t.Errorf("a lost race waited: %v", err)
	}
	if err := stream.WaitAfterConflict(ended, flying); !errors.Is(err, context.Canceled) {
		t.Errorf("a write in flight was not waited for: %v", err)
	}
	if err := stream.WaitAfterConflict(context.Background(), flying); err != nil {
		t.Errorf("waiting failed: %v", err)
	}
}

func TestConflictsAreRetriedButNotForEver(t *testing.T) {
	t.Parallel()
	attempts := 0
	err := stream.RetryConflicts(t.Context(), func() error { attempts++; return fmt.Errorf("write: %w", stream.ErrConflict) })
	if attempts != 20 || !errors.Is(err, stream.ErrContended) || stream.IsConflict(err) {
		t.Errorf("%d attempts, %v", attempts, err)
	}
	attempts = 0
	failed := errors.New("no broker")
	err = stream.RetryConflicts(t.Context(), func() error {
		if attempts++; attempts < 3 {
			return stream.ErrConflict
		}
		return failed
	})
	if attempts != 3 || err != failed { //nolint:errorlint // The very error.
		t.Errorf("%d attempts, %v", attempts, err)
	}
}
