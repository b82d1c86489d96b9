package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is what one load found.
type Report struct {
	Window   time.Duration
	Accepted Latency // Requests answered 200, from when they were due.
	Service  Latency // The same requests, from when they were sent.
	Refused  Latency // Requests with another status, from when they were sent.

	Total    int            // Every 200, those of the warm-up included.
	Failed   map[string]int // Every other outcome, by status or problem, the warm-up included.
	Payments []Payment      // The accepted payments, if Options.Keep is set.
}

// Rate is how many requests per second were accepted.
func (r Report) Rate() float64 { return float64(r.Accepted.TotalCount()) / r.Window.Seconds() }

// P50 is how many milliseconds the faster half of the accepted requests took.
func (r Report) P50() float64 { return r.Accepted.Millis(50) }

// P99 is how many milliseconds all but 1 % of the accepted requests took.
func (r Report) P99() float64 { return r.Accepted.Millis(99) }

// Others lists the outcomes that were not 200, such as "12 × 503, 1 × timeout",
// without the expected ones.
func (r Report) Others(expected ...string) string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(r.Failed)) {
		if !slices.Contains(expected, what) {
			all = append(all, fmt.Sprintf("%d × %s", r.Failed[what], what))
		}
	}
	return strings.Join(all, ", ")
}

// Latency counts durations up to ten minutes, to a microsecond and to one in
// a thousand.
type Latency struct{ *hdrhistogram.Histogram }

// NewLatency counts nothing yet.
func NewLatency() Latency {
	return Latency{hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3)}
}

// Add counts one duration.
func (l Latency) Add(d time.Duration) {
	_ = l.RecordValue(min(d.Microseconds(), l.HighestTrackableValue())) // It fails out of range only.
}

// Millis is the duration in milliseconds that so many percent do not exceed.
func (l Latency) Millis(percent float64) float64 {
	return float64(l.ValueAtPercentile(percent)) / 1000
}
