package journey

import (
	"context"
	"strings"
	"sync"
	"time"

	"arauto/deploy/tools/bench/latency"
	"arauto/deploy/tools/bench/load"
)

// follower takes the time at which each payment's first event arrives.
type follower struct {
	o load.Options

	mu      sync.Mutex
	base    time.Time
	arrived []bool // By the payment's number.
	count   uint64
	last    time.Duration
	events  latency.Histogram
	onTheir []uint64 // Payments on their way, at each mark of the load.
}

func newFollower(o load.Options, count uint64) *follower {
	return &follower{o: o, arrived: make([]bool, count)}
}

// begin is when the schedule begins.
func (f *follower) begin(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.base = at
}

// arrive notes the event on orders.<provider>.<account>.<payment>. ....
func (f *follower) arrive(subject string) {
	tokens := strings.SplitN(subject, ".", 5)
	if len(tokens) < 5 {
		return
	}
	group, n, ok := load.ParsePaymentID(tokens[3])
	f.mu.Lock()
	defer f.mu.Unlock()
	if !ok || group != f.o.Group || n >= uint64(len(f.arrived)) || f.arrived[n] {
		return
	}
	f.arrived[n] = true
	f.count++
	due := time.Duration(float64(n) / f.o.Rate * float64(time.Second))
	f.last = time.Since(f.base)
	if due >= f.o.Span.Warm && due < f.o.Span.Warm+f.o.Span.For {
		f.events.Add(f.last - due)
	}
}

// Write is called with the load's marks and notes how many payments are on
// their way then.
func (f *follower) Write(mark []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := uint64(time.Since(f.base).Seconds() * f.o.Rate)
	f.onTheir = append(f.onTheir, due-min(f.count, due))
	return len(mark), nil
}

// await waits until that many payments have their event, and returns how many
// have none when its patience ends.
func (f *follower) await(ctx context.Context, wanted uint64) uint64 {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		f.mu.Lock()
		missing := wanted - min(f.count, wanted)
		f.mu.Unlock()
		if missing == 0 || load.Pause(ctx, 5*time.Millisecond) != nil {
			return missing
		}
	}
}

// finish fills the report in.
func (f *follower) finish(r *Report) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.Events = f.events.Summary()
	r.Total = f.last - f.o.Span.Warm
	if len(f.onTheir) == 2 {
		r.Before, r.After = f.onTheir[0], f.onTheir[1]
	}
}
