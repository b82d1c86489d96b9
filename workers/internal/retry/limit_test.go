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

// parkedBytes is how many bytes the stream takes.
func (r *rig) scheduledBytes() int64 {
	r.T.Helper()
	stream, err := r.JS.Stream(r.Ctx, subject.LookupRetries)
	r.Must(err)
	return int64(stream.CachedInfo().State.Bytes) //nolint:gosec // A test's stream is small.
}

func TestFullStoreTakesKnownPayments(t *testing.T) {
	t.Parallel()
	r := setup(t)
	if err := r.store.CheckLimit(r.Ctx, retry.LimitForAll); err != nil {
		t.Fatalf("a store without a bound: %v", err)
	}
	r.Must(r.store.Schedule(r.Ctx, retry.Fresh, scheduled(strings.Repeat("p", 200), 1, 0)))
	parked := r.scheduledBytes()
	for _, c := range []struct {
		percent           int64 // Of the limit that scheduled look-ups take.
		stranger, favored bool  // Whether another may be scheduled.
	}{{50, true, true}, {79, true, true}, {82, false, true}, {94, false, true}, {97, false, false}, {150, false, false}} {
		r.store.SetLimit(parked*100/c.percent, 0)
		for share, want := range map[retry.Share]bool{retry.LimitForAll: c.stranger, retry.LimitForKnown: c.favored} {
			if err := r.store.CheckLimit(r.Ctx, share); (err == nil) != want || err != nil && !errors.Is(err, retry.ErrFull) {
				t.Errorf("at %d %% of the room, of which %d %% may be taken: %v", c.percent, share, err)
			}
		}
	}
}

func TestUsageIsReadOncePerInterval(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.store.SetLimit(1000, time.Hour)
	for i := range 9 {
		r.Must(r.store.CheckLimit(r.Ctx, retry.LimitForAll))
		r.Must(r.store.Schedule(r.Ctx, retry.Fresh, scheduled(fmt.Sprintf("p-%d", i), 1, 0)))
	}
	r.store.SetLimit(1000, time.Hour)
	if err := r.store.CheckLimit(r.Ctx, retry.LimitForAll); !errors.Is(err, retry.ErrFull) {
		t.Errorf("read again, with %d bytes scheduled: %v", r.scheduledBytes(), err)
	}
}
