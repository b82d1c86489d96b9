package breaker

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
)

// dues are the due times of deferred look-ups, the earliest first.
type dues []time.Time

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].Before(d[j]) }
func (d dues) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(at any)       { *d = append(*d, at.(time.Time)) }
func (d *dues) Pop() any          { last := (*d)[len(*d)-1]; *d = (*d)[:len(*d)-1]; return last }

// waiting is an account whose circuit stays open, and as many look-ups that wait for it.
type waiting struct {
	*Cache
	clock *testbench.Clock
	key   key
	due   dues
}

func newWaiting(cause string, n int) *waiting {
	w := &waiting{clock: testbench.NewClock(time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)), key: key{"sandbox", "acme"}}
	w.Cache = &Cache{
		Options: Options{
			Waits: Waits{First: 5 * time.Second, Longest: time.Minute, Expiry: 20 * time.Second}, Now: w.clock.Now,
		},
		records: map[key]entry{}, opening: map[key]bool{},
	}
	w.set(record.Circuit{State: record.CircuitOpen, Cause: cause, Wait: time.Minute, Since: w.clock.Now()})
	for range n { // A thousand webhooks a second.
		w.deferred()
		w.clock.Advance(time.Millisecond)
		w.run(w.clock.Now())
	}
	return w
}

func (w *waiting) set(c record.Circuit) {
	w.records[w.key] = entry{sequence: 1, at: w.clock.Now(), Circuit: c}
}

// deferred defers one look-up.
func (w *waiting) deferred() {
	heap.Push(&w.due, w.clock.Now().Add(w.Defer(w.acquire(w.ofAccount(w.key.provider, w.key.account), w.key.account), rand.Float64())))
}

// run defers what becomes due until a time again, and returns how many were.
func (w *waiting) run(until time.Time) (deferrals int) {
	for len(w.due) > 0 && !w.due[0].After(until) {
		w.clock.Advance(max(w.due[0].Sub(w.clock.Now()), 0))
		heap.Pop(&w.due)
		w.deferred()
		deferrals++
	}
	w.clock.Advance(max(until.Sub(w.clock.Now()), 0))
	return deferrals
}

// However many look-ups wait, their deferrals are bounded, and few wait no longer for it.
func TestDeferralsArePacedWhateverTheirNumber(t *testing.T) {
	t.Parallel()
	for _, cause := range []string{causeCredential, causeOperator} {
		for _, n := range []int{20, 20_000} {
			w := newWaiting(cause, n)
			w.run(w.clock.Now().Add(20 * time.Minute))
			w.deferrals = deferrals{} // The worker has restarted.
			w.run(w.clock.Now().Add(20 * time.Minute))
			const minutes = 20
			deferrals := w.run(w.clock.Now().Add(minutes * time.Minute))
			perSecond := float64(deferrals) / (minutes * 60)
			if perSecond > 60 {
				t.Errorf("%d look-ups that wait for %s are deferred %.1f times a second", n, cause, perSecond)
			}
			if n == 20 && deferrals < n*minutes/10 {
				t.Errorf("%d look-ups that wait for %s are deferred %d times in 20 minutes", n, cause, deferrals)
			}
		}
	}
}

// Each of several workers defers its share of the pace, whatever part of the look-ups it has.
func TestWorkersShareTheDeferralPace(t *testing.T) {
	t.Parallel()
	w := newWaiting(causeCredential, 0)
	w.Workers = func() int { return 4 }
	for range 10_000 {
		w.deferred()
	}
	w.run(w.clock.Now().Add(20 * time.Minute))
	const minutes = 20
	if perSecond := float64(w.run(w.clock.Now().Add(minutes*time.Minute))) / (minutes * 60); perSecond > 60./4 {
		t.Errorf("one worker of four defers %.1f times a second", perSecond)
	}
}

// When the circuit closes, the deferred look-ups become due at a pace, and not at once.
func TestReleaseIsPaced(t *testing.T) {
	t.Parallel()
	const n = 20_000
	w := newWaiting(causeCredential, n)
	w.run(w.clock.Now().Add(20 * time.Minute))
	w.set(record.Circuit{State: record.CircuitClosed, Cause: causeAnswered})
	released, busiest := 0, 0
	end := w.clock.Now()
	for len(w.due) > 0 {
		end = end.Add(time.Minute)
		inMinute := 0
		for len(w.due) > 0 && !w.due[0].After(end) {
			heap.Pop(&w.due)
			inMinute++
		}
		released += inMinute
		busiest = max(busiest, inMinute)
	}
	took := end.Sub(w.clock.Now())
	if released != n || busiest > 60*60 || took > n*deferPace+2*time.Minute {
		t.Errorf("%d look-ups were released within %v, at most %d in a minute", released, took, busiest)
	}
}
