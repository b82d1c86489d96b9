package retry_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

// parkedBytes is what the stream takes of the store.
func (r *rig) parkedBytes() int64 {
	r.t.Helper()
	stream, err := r.JS.Stream(r.ctx, subject.LookupRetries)
	r.must(err)
	return int64(stream.CachedInfo().State.Bytes) //nolint:gosec // A test's stream is small.
}

func TestFullLotKeepsRoomForKnownPayments(t *testing.T) {
	t.Parallel()
	r := setup(t)
	if err := r.lot.CheckLimit(r.ctx, retry.RoomForAll); err != nil {
		t.Fatalf("a lot without a bound: %v", err)
	}
	r.must(r.lot.Schedule(r.ctx, waiting(strings.Repeat("p", 200), 1, 0)))
	parked := r.parkedBytes()
	for _, c := range []struct {
		percent           int64 // Of the room, what is parked takes.
		stranger, favored bool  // Whether one more may be parked.
	}{{50, true, true}, {79, true, true}, {82, false, true}, {94, false, true}, {97, false, false}, {150, false, false}} {
		r.lot.SetLimit(parked*100/c.percent, 0)
		for share, want := range map[retry.Share]bool{retry.RoomForAll: c.stranger, retry.RoomForKnown: c.favored} {
			if err := r.lot.CheckLimit(r.ctx, share); (err == nil) != want || err != nil && !errors.Is(err, retry.ErrFull) {
				t.Errorf("at %d %% of the room, of which %d %% may be taken: %v", c.percent, share, err)
			}
		}
	}
}

func TestFillOfTheLotIsNotReadForEachLookUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.lot.SetLimit(1000, time.Hour)
	for i := range 9 {
		r.must(r.lot.CheckLimit(r.ctx, retry.RoomForAll))
		r.must(r.lot.Schedule(r.ctx, waiting(fmt.Sprintf("p-%d", i), 1, 0)))
	}
	r.lot.SetLimit(1000, time.Hour)
	if err := r.lot.CheckLimit(r.ctx, retry.RoomForAll); !errors.Is(err, retry.ErrFull) {
		t.Errorf("read anew, with %d bytes parked: %v", r.parkedBytes(), err)
	}
}

func TestAloneParksOnlyWhereNothingIs(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first, second := waiting("p-1", 1, 0), waiting("p-1", 2, 0)
	if parked, err := r.lot.ScheduleIfNone(r.ctx, first); err != nil || !parked {
		t.Fatalf("where nothing is: %t, %v", parked, err)
	}
	if parked, err := r.lot.ScheduleIfNone(r.ctx, second); err != nil || parked {
		t.Errorf("where something is: %t, %v", parked, err)
	}
	place, err := r.lot.Read(r.ctx, first.Provider, first.Account, "p-1")
	if err != nil || place.Parked.Covers != 1 || !place.Parked.Expedited {
		t.Errorf("parked is %+v, %v", place.Parked, err)
	}
}
