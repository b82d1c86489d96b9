package load

import (
	"context"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"arauto/deploy/tools/bench/latency"
)

// Span is how long a run is: a warm-up that is not counted, and then the
// window.
type Span struct{ Warm, For time.Duration }

// The lines that a run writes when its window begins and ends, so that
// whoever started it can look at the other processes at these moments.
const (
	Begin = "begin"
	End   = "end"
)

// Result is the end of one request. Sent and Done are times since the run
// began, and Due when it should have been sent.
type Result struct {
	Due, Sent, Done time.Duration
	Status          int    // Of the answer, 0 when there was no usable one.
	Problem         string // What was wrong then, of a closed list of words.
}

// Tally counts results. It is safe for concurrent use.
type Tally struct {
	base       time.Time
	begin, end time.Duration

	mu         sync.Mutex
	accepted   latency.Histogram
	service    latency.Histogram
	refused    latency.Histogram
	statuses   map[int]uint64
	errors     map[string]uint64
	late       uint64
	everything uint64
}

// Now is the time since the run began.
func (t *Tally) Now() time.Duration { return time.Since(t.base) }

// Over reports whether the run has come to its end.
func (t *Tally) Over() bool { return t.Now() >= t.end }

// Answered counts a result of a closed loop, by when it was done.
func (t *Tally) Answered(r Result) { t.count(r, r.Done) }

// Scheduled counts a result of an open loop, by when it was due.
func (t *Tally) Scheduled(r Result) { t.count(r, r.Due) }

func (t *Tally) count(r Result, at time.Duration) {
	inside := at >= t.begin && at < t.end
	t.mu.Lock()
	defer t.mu.Unlock()
	switch r.Status {
	case 200:
		t.everything++
		if inside {
			t.accepted.Add(r.Done - r.Due)
			t.service.Add(r.Done - r.Sent)
		}
	case 0:
		t.errors[r.Problem]++
	default:
		t.statuses[r.Status]++
		if inside {
			t.refused.Add(r.Done - r.Sent)
		}
	}
}

// Late counts a request that was given up before it was sent.
func (t *Tally) Late() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late++
}

// shards is how many tallies a run has, so that its workers do not wait for
// each other to count.
const shards = 32

// Drive runs work n times at once, each with its number and a tally, until
// the span is over, and sums up. It writes Begin and End to out. The work
// must return soon after its tally says that the run is over.
func Drive(ctx context.Context, out io.Writer, s Span, n int, work func(ctx context.Context, i int, t *Tally)) (Report, error) {
	base := time.Now()
	tallies := make([]*Tally, min(n, shards))
	for i := range tallies {
		tallies[i] = &Tally{
			base: base, begin: s.Warm, end: s.Warm + s.For,
			statuses: map[int]uint64{}, errors: map[string]uint64{},
		}
	}
	var workers sync.WaitGroup
	for i := range n {
		workers.Go(func() { work(ctx, i, tallies[i%len(tallies)]) })
	}
	cpu, err := watch(ctx, out, s)
	workers.Wait()
	if err != nil {
		return Report{}, err
	}
	r := sum(tallies)
	r.Window, r.CPU = s.For, cpu
	return r, nil
}

// watch waits for the window's begin and end, says so, and returns the CPU
// time that this process used between them.
func watch(ctx context.Context, out io.Writer, s Span) (time.Duration, error) {
	var used [2]time.Duration
	for i, mark := range []struct {
		word string
		wait time.Duration
	}{{Begin, s.Warm}, {End, s.For}} {
		if err := Pause(ctx, mark.wait); err != nil {
			return 0, err
		}
		used[i] = OwnCPU()
		if _, err := fmt.Fprintln(out, mark.word); err != nil {
			return 0, fmt.Errorf("say %s: %w", mark.word, err)
		}
	}
	return used[1] - used[0], nil
}

// Pause waits for d, or returns the context's error when that ends first.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OwnCPU is the CPU time that this process has used, user and system.
func OwnCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0 // It cannot fail for the process itself.
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func sum(tallies []*Tally) Report {
	r := Report{Statuses: map[int]uint64{}, Errors: map[string]uint64{}}
	var accepted, service, refused latency.Histogram
	for _, t := range tallies {
		accepted.Merge(&t.accepted)
		service.Merge(&t.service)
		refused.Merge(&t.refused)
		for status, n := range t.statuses {
			r.Statuses[status] += n
		}
		for problem, n := range t.errors {
			r.Errors[problem] += n
		}
		r.Late += t.late
		r.Everything += t.everything
	}
	r.Accepted, r.Service, r.Refused = accepted.Summary(), service.Summary(), refused.Summary()
	return r
}
