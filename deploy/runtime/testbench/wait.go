package testbench

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// longest bounds each wait of a test: a busy machine needs long, and a test that hangs
// still says where.
const longest = 5 * time.Minute

// Context is a context that ends with the test, or after five minutes.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	t.Cleanup(cancel)
	return ctx
}

// Must ends a test, or one run of a property, at an error.
func Must(t interface {
	Helper()
	Fatal(args ...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Must ends the test at an error.
func (b Bench) Must(err error) { b.T.Helper(); Must(b.T, err) }

// Poll asks every few milliseconds for a condition that no signal announces. It reports
// false when ctx ends before the condition is met.
func Poll(ctx context.Context, met func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !met() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Until polls a condition, and ends the test when it is not met within five minutes.
func Until(t testing.TB, what string, met func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	if !Poll(ctx, met) {
		t.Fatalf("not reached within %v: %s", longest, what)
	}
}

// Until polls a condition, and ends the test when it is not met before the context ends.
func (b Bench) Until(what string, met func() bool) {
	b.T.Helper()
	if !Poll(b.Ctx, met) {
		b.T.Fatalf("not reached: %s", what)
	}
}

// Receive takes one value from a channel, and ends the test when none comes within
// five minutes.
func Receive[V any](t testing.TB, what string, from <-chan V) (v V) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(longest):
		t.Fatalf("not received within %v: %s", longest, what)
	}
	return v
}

// Clock is a clock that a test advances. The zero value is the machine's clock until then.
type Clock struct {
	start time.Time // Where the clock stands still, zero for the machine's clock.
	ahead atomic.Int64
}

// NewClock is a clock that stands still at a time.
func NewClock(at time.Time) *Clock { return &Clock{start: at} }

// Now is the time that the clock shows.
func (c *Clock) Now() time.Time {
	at := c.start
	if at.IsZero() {
		at = time.Now()
	}
	return at.Add(time.Duration(c.ahead.Load()))
}

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }

// Turn sets how far the clock is ahead in all.
func (c *Clock) Turn(d time.Duration) { c.ahead.Store(int64(d)) }

// Logs is a logger, and what has been written to it at a level or above.
func Logs(level zapcore.Level) (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(level)
	return zap.New(core), logs
}

// Output collects what a process writes.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write appends to what String returns.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is all that was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Metric sums the series of a metric that have each of the label values: the values of
// counters and gauges, the counts of histograms. there reports whether there is one.
func Metric(t testing.TB, from prometheus.Gatherer, name string, values ...string) (sum float64, there bool) {
	t.Helper()
	families, err := from.Gather()
	Must(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(labels, v) }) {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				there = true
			}
		}
	}
	return sum, there
}

// Value is Metric for a metric that must be there.
func Value(t testing.TB, from prometheus.Gatherer, name string, values ...string) float64 {
	t.Helper()
	sum, there := Metric(t, from, name, values...)
	if !there {
		t.Fatalf("there is no metric %s %v", name, values)
	}
	return sum
}
