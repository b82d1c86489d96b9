package retry_test

import (
	"sync/atomic"
	"testing"
	"time"

	"arauto/workers/internal/retry"
)

// A machine's clock may be an hour off. A look-up that is scheduled in a minute must
// still be due then.
func TestClockTellsTheBrokersTime(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		var here atomic.Int64
		here.Store(time.Now().Add(off).UnixNano())
		c := retry.NewClock(r.JS, func() time.Time { return time.Unix(0, here.Load()) })
		if got := c.Now(); got.UnixNano() != here.Load() {
			t.Errorf("before it is set it says %v", got)
		}
		r.Must(c.Set(r.Ctx))
		before := c.Now()
		if gap := time.Since(before); gap.Abs() > 10*time.Minute {
			t.Errorf("a machine that is %v off is still %v off", off, gap)
		}
		here.Add(int64(90 * time.Second))
		if got := c.Now().Sub(before); got != 90*time.Second {
			t.Errorf("90 s later it has gone on by %v", got)
		}
	}
}

// A look-up must not seem older than the message that caused it.
func TestClockIsNeverBehindTheBroker(t *testing.T) {
	t.Parallel()
	r := setup(t)
	c := retry.NewClock(r.JS, nil)
	for range 50 {
		r.Must(c.Set(r.Ctx))
		if now := time.Now(); c.Now().Before(now) { // The broker has this machine's clock.
			t.Fatalf("it is %v behind", now.Sub(c.Now()))
		}
	}
}
