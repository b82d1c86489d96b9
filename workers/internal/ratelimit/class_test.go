package ratelimit_test

import (
	"testing"
	"time"

	"arauto/workers/internal/ratelimit"
)

// flood is many look-ups of each class at once, the lowest class first, which the
// broker delivers 100 ms late.
func flood(crowd int, l ratelimit.Limit) (began map[ratelimit.Class][]time.Time) {
	c := fresh()
	a := ratelimit.New(l, c.Now)
	var visitors []arrival
	for class := ratelimit.Unknown; class >= ratelimit.Known; class-- {
		for i := range crowd {
			visitors = append(visitors, arrival{name: int(class)*crowd + i, at: c.Now(), class: class})
		}
	}
	began = map[ratelimit.Class][]time.Time{}
	for name, at := range day(c, a, visitors, func() time.Duration { return 100 * time.Millisecond }) {
		class := ratelimit.Class(name / crowd)
		began[class] = append(began[class], at)
	}
	return began
}

// before counts the times before another time.
func before(times []time.Time, at time.Time) (n int) {
	for _, t := range times {
		if t.Before(at) {
			n++
		}
	}
	return n
}

func last(times []time.Time) (at time.Time) {
	for _, t := range times {
		if t.After(at) {
			at = t
		}
	}
	return at
}

// Lower classes take the burst, because they are first, and then a tenth of the tokens
// each.
func TestHigherClassesGoFirst(t *testing.T) {
	t.Parallel()
	const crowd = 100
	for _, l := range []ratelimit.Limit{{Rate: 20, Burst: 10, Concurrency: 4}, {Rate: 5, Burst: 1, Concurrency: 1}} {
		began := flood(crowd, l)
		debt := l.Rate // The tokens that lower classes may have borrowed.
		for _, c := range []struct{ higher, lower ratelimit.Class }{
			{ratelimit.Known, ratelimit.Unasked}, {ratelimit.Known, ratelimit.Unknown}, {ratelimit.Unasked, ratelimit.Unknown},
		} {
			most := l.Burst + debt/2 + 2*crowd/10 + 1
			if got := before(began[c.lower], last(began[c.higher])); got > most {
				t.Errorf("%+v: %d of class %d began before the last of class %d, want at most %d", l, got, c.lower, c.higher, most)
			}
		}
	}
}

// Higher classes without end: a tenth of the tokens is for the lowest.
func TestLowestClassIsNotStarved(t *testing.T) {
	t.Parallel()
	c := fresh()
	l := ratelimit.Limit{Rate: 20, Burst: 10, Concurrency: 4}
	a := ratelimit.New(l, c.Now)
	begins, turns := 0, 0
	for i := range 60 * l.Rate { // A minute, with one look-up of each class per token.
		c.Advance(time.Second / time.Duration(l.Rate))
		for class := ratelimit.Known; class <= ratelimit.Unknown; class++ {
			if _, ok := a.AllowQueued(class); ok {
				a.Release()
				if class == ratelimit.Unknown && i > 10*l.Rate { // The burst is used up.
					begins++
				}
			}
		}
		turns = i - 10*l.Rate
	}
	if share := float64(begins) / float64(turns); share < 0.05 || share > 0.15 {
		t.Errorf("the lowest class has %.2f of the turns, want about a tenth", share)
	}
}

func TestConcurrencyIsReservedForHigherClasses(t *testing.T) {
	t.Parallel()
	for concurrency, want := range map[int][3]int{1: {1, 1, 1}, 7: {7, 7, 7}, 8: {8, 7, 6}, 32: {32, 28, 24}} {
		for class, kept := range want {
			for queued, places := range map[bool]int{true: kept, false: concurrency} {
				c := fresh()
				a := ratelimit.New(ratelimit.Limit{Rate: 1000, Burst: 1, Concurrency: concurrency}, c.Now)
				a.Allow(ratelimit.Class(class))
				a.Release()
				for range 100 { // A queue of a tenth of a second.
					a.Allow(ratelimit.Class(class))
				}
				if !queued {
					c.Advance(time.Second)
				}
				a.AllowQueued(ratelimit.Class(class)) // Else a starved class would begin in any case.
				got := 1
				for range 50 {
					if _, ok := a.AllowQueued(ratelimit.Class(class)); !ok {
						break
					}
					got++
				}
				if got != places {
					t.Errorf("of %d places class %d has %d, want %d, queued: %v", concurrency, class, got, places, queued)
				}
			}
		}
	}
}

// A look-up passes the queues of lower classes, and not its own.
func TestFreshLookUpPassesLowerQueuesOnly(t *testing.T) {
	t.Parallel()
	c := fresh()
	a := ratelimit.New(ratelimit.Limit{Rate: 10, Burst: 1, Concurrency: 4}, c.Now)
	a.Allow(ratelimit.Unknown)
	for range 20 {
		a.Allow(ratelimit.Unasked)
	}
	if wait, ok := a.Allow(ratelimit.Known); ok || wait > 100*time.Millisecond {
		t.Errorf("a known payment waits %v, allowed %v", wait, ok)
	}
	if wait, ok := a.Allow(ratelimit.Unknown); ok || wait < 2*time.Second {
		t.Errorf("an unknown payment waits %v, allowed %v", wait, ok)
	}
}
