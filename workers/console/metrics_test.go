package console

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
)

func TestAgesGrowUntilAllIsRead(t *testing.T) {
	t.Parallel()
	r := start(t)
	clock := testbench.NewClock(time.Now())
	r.site.Now, r.site.follow.Now, r.site.watch.Now = clock.Now, clock.Now, clock.Now
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.site.ages()...)
	want := func(when string, index, broker float64) {
		t.Helper()
		for part, minutes := range map[string]float64{"index": index, "broker": broker} {
			if got := testbench.Value(t, registry, "arauto_console_age_seconds", part) / 60; math.Abs(got-minutes) > 2 {
				t.Errorf("%s %s is %v minutes old, want %v", when, part, got, minutes)
			}
		}
	}
	want("at first", 0, 0)
	r.event("p-1", "", order.Pending, 1)
	clock.Advance(10 * time.Minute)
	want("before anything is read", 10, 10)
	r.feed()
	want("once every event is read", 0, 10)
	r.look()
	want("once the broker is read", 0, 0)
	r.Stop()
	clock.Advance(20 * time.Minute)
	soon, cancel := context.WithTimeout(r.Ctx, time.Second) // Requests wait for the broker.
	defer cancel()
	if _, err := r.site.follow.step(soon); err == nil {
		t.Error("without a broker the index is fed")
	}
	r.site.watch.look(soon)
	want("while the broker is away", 20, 20)
}
