package ratelimit_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/deploy/runtime/testbench"
	"arauto/workers/internal/ratelimit"
)

func fresh() *testbench.Clock {
	return testbench.NewClock(time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC))
}

// arrival is a look-up, fresh or delivered again at its queued time.
type arrival struct {
	name   int
	at     time.Time
	waited bool
	class  ratelimit.Class
}

// day runs look-ups of an account until all have begun, each delivered late by as much
// as late says, and returns when each began.
func day(c *testbench.Clock, a *ratelimit.Limiter, visitors []arrival, late func() time.Duration) map[int]time.Time {
	began := map[int]time.Time{}
	for len(visitors) > 0 {
		slices.SortStableFunc(visitors, func(x, y arrival) int { return x.at.Compare(y.at) })
		v := visitors[0]
		visitors = visitors[1:]
		if v.at.After(c.Now()) {
			c.Advance(v.at.Sub(c.Now()))
		}
		enter := a.Allow
		if v.waited {
			enter = a.AllowQueued
		}
		wait, ok := enter(v.class)
		if ok {
			began[v.name] = c.Now()
			a.Release()
			continue
		}
		visitors = append(visitors, arrival{name: v.name, at: c.Now().Add(wait + late()), waited: true, class: v.class})
	}
	return began
}

func class() *rapid.Generator[ratelimit.Class] {
	return rapid.SampledFrom([]ratelimit.Class{ratelimit.Known, ratelimit.Unasked, ratelimit.Unknown})
}

// busiest says by how much look-ups began faster than the limit allows in any
// stretch of time, 0 for never.
func busiest(began map[int]time.Time, l ratelimit.Limit) (over int) {
	times := make([]time.Time, 0, len(began))
	for _, at := range began {
		times = append(times, at)
	}
	slices.SortFunc(times, time.Time.Compare)
	for i := range times {
		for j := i; j < len(times); j++ {
			allowed := float64(l.Burst) + float64(l.Rate)*(times[j].Sub(times[i]).Seconds()+1)
			over = max(over, j-i+1-int(allowed+1e-6))
		}
	}
	return over
}

func TestRateIsNeverExceeded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := ratelimit.Limit{
			Rate: rapid.IntRange(1, 50).Draw(t, "rate"), Burst: rapid.IntRange(1, 40).Draw(t, "burst"), Concurrency: 1,
		}
		c := fresh()
		a := ratelimit.New(l, c.Now)
		var visitors []arrival
		at := c.Now()
		for i := range rapid.IntRange(1, 120).Draw(t, "visitors") {
			at = at.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "gap")) * time.Millisecond)
			// Some were queued by another process.
			visitors = append(visitors, arrival{
				name: i, at: at, waited: rapid.IntRange(0, 3).Draw(t, "waited") == 0, class: class().Draw(t, "class"),
			})
		}
		count := len(visitors)
		began := day(c, a, visitors, func() time.Duration {
			return time.Duration(rapid.IntRange(0, 2000).Draw(t, "late")) * time.Millisecond
		})
		if len(began) != count {
			t.Fatalf("%d of %d began", len(began), count)
		}
		if over := busiest(began, l); over > 0 {
			t.Fatalf("%d more began than %+v allows", over, l)
		}
	})
}

// Behind N others, a look-up waits N/Rate and the broker's lateness, whatever is queued
// behind it.
func TestWaitIsBoundedByTheQueueAhead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := ratelimit.Limit{
			Rate: rapid.IntRange(2, 100).Draw(t, "rate"), Burst: rapid.IntRange(1, 40).Draw(t, "burst"), Concurrency: 1,
		}
		c, same := fresh(), class().Draw(t, "class")
		a := ratelimit.New(l, c.Now)
		start, front := c.Now(), rapid.IntRange(0, 300).Draw(t, "front")
		var visitors []arrival
		for i := range front {
			visitors = append(visitors, arrival{name: i, at: start, class: same})
		}
		const honest = 1_000_000
		visitors = append(visitors, arrival{name: honest, at: start, class: same})
		for i := range 200 { // Ten times as fast as the limit.
			gap := time.Duration(i) * time.Second / time.Duration(10*l.Rate)
			visitors = append(visitors, arrival{name: front + i, at: start.Add(gap), class: same})
		}
		began := day(c, a, visitors, func() time.Duration {
			return time.Duration(rapid.IntRange(0, 300).Draw(t, "late")) * time.Millisecond
		})
		most := time.Duration(front+1)*time.Second/time.Duration(l.Rate) + 300*time.Millisecond
		if waited := began[honest].Sub(start); waited > most {
			t.Fatalf("with %d in front at %d a second it waited %v, more than %v", front, l.Rate, waited, most)
		}
	})
}

func TestConcurrencyIsBoundedAndReleased(t *testing.T) {
	t.Parallel()
	c := fresh()
	a := ratelimit.New(ratelimit.Limit{Rate: 100, Burst: 100, Concurrency: 2}, c.Now)
	for i := range 2 {
		if _, ok := a.Allow(ratelimit.Unasked); !ok {
			t.Fatalf("look-up %d is not allowed", i)
		}
	}
	wait, ok := a.Allow(ratelimit.Unasked)
	if ok || wait <= 0 {
		t.Fatalf("a third one in flight: allowed %v, wait %v", ok, wait)
	}
	c.Advance(wait)
	if _, ok := a.AllowQueued(ratelimit.Unasked); ok {
		t.Error("a turn goes beyond what may be in flight")
	}
	a.Release()
	if _, ok := a.AllowQueued(ratelimit.Unasked); !ok {
		t.Error("a free place is not given to one whose turn has come")
	}
}

func TestFreshLookUpDoesNotPassTheQueue(t *testing.T) {
	t.Parallel()
	c := fresh()
	a := ratelimit.New(ratelimit.Limit{Rate: 10, Burst: 10, Concurrency: 1}, c.Now)
	a.Allow(ratelimit.Unasked)
	wait, _ := a.Allow(ratelimit.Unasked) // There are tokens, but the concurrency is used up.
	a.Release()
	if _, ok := a.Allow(ratelimit.Unasked); ok {
		t.Error("a fresh look-up passes the queue")
	}
	c.Advance(wait)
	if _, ok := a.AllowQueued(ratelimit.Unasked); !ok {
		t.Error("the first of the queue is not allowed at its time")
	}
}

func TestIdleTimeFillsTheBurstAndNoMore(t *testing.T) {
	t.Parallel()
	c := fresh()
	a := ratelimit.New(ratelimit.Limit{Rate: 10, Burst: 5, Concurrency: 100}, c.Now)
	for _, quiet := range []time.Duration{0, time.Hour} {
		c.Advance(quiet)
		allowed := 0
		for range 20 {
			if _, ok := a.Allow(ratelimit.Unasked); ok {
				allowed++
			}
		}
		if allowed != 5 {
			t.Errorf("after %v %d began at once, want the burst of 5", cmp.Or(quiet, time.Nanosecond), allowed)
		}
	}
}

func TestClockSetBackOnlyDelays(t *testing.T) {
	t.Parallel()
	c := fresh()
	a := ratelimit.New(ratelimit.Limit{Rate: 10, Burst: 1, Concurrency: 1}, c.Now)
	a.Allow(ratelimit.Unasked)
	a.Release()
	c.Advance(-time.Hour)
	wait, ok := a.AllowQueued(ratelimit.Unasked)
	if ok {
		a.Release()
		return
	}
	if wait > time.Second {
		t.Errorf("an hour back makes a wait of %v", wait)
	}
}

func TestLimitIsReplacedWithItsDebt(t *testing.T) {
	t.Parallel()
	c := fresh()
	l := ratelimit.New(ratelimit.Limit{Rate: 10, Burst: 10, Concurrency: 100}, c.Now)
	for range 10 {
		if _, ok := l.Allow(ratelimit.Known); !ok {
			t.Fatal("a look-up within the burst is not allowed")
		}
	}
	l.SetLimit(ratelimit.Limit{Rate: 100, Burst: 50, Concurrency: 12})
	if _, ok := l.Allow(ratelimit.Known); ok {
		t.Error("a new burst is full at once")
	}
	if l.Rate() != 100 {
		t.Errorf("the rate is %d", l.Rate())
	}
	c.Advance(time.Second)
	allowed := 0
	for range 50 {
		if _, ok := l.Allow(ratelimit.Known); ok {
			allowed++
		}
	}
	if allowed != 2 {
		t.Errorf("%d more look-ups are in flight, want 2 beside the 10 before", allowed)
	}
}
