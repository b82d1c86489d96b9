package publish

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// at is a point in time, counted from a fixed start.
func at(d time.Duration) time.Time { return time.Unix(1000, 0).Add(d) }

func TestUnknownAckRateMeansNoWait(t *testing.T) {
	t.Parallel()
	var r ackRate
	r.restart(at(0))
	r.add(1, at(70*time.Millisecond)) // The first sync was slow.
	if got := r.wait(4000, at(80*time.Millisecond)); got != 0 {
		t.Errorf("after one slow message the wait is %v", got)
	}
}

func TestAckRateIsThatOfTheLastWindow(t *testing.T) {
	t.Parallel()
	var r ackRate
	r.restart(at(0))
	for ms := range 300 {
		r.add(10, at(time.Duration(ms)*time.Millisecond))
	}
	if got := r.wait(1000, at(300*time.Millisecond)); got < 90*time.Millisecond || got > 110*time.Millisecond {
		t.Errorf("behind 1,000 messages at 10,000 a second the wait is %v", got)
	}
	// A pause shorter than the window does not change it.
	if got := r.wait(1000, at(500*time.Millisecond)); got > 110*time.Millisecond {
		t.Errorf("after a pause of 200 ms it is %v", got)
	}
	// A broker that acks nothing has stalled.
	if got := r.wait(1000, at(1200*time.Millisecond)); got < time.Second {
		t.Errorf("after a second without any confirmation it is %v", got)
	}
	r.restart(at(2000 * time.Millisecond))
	if got := r.wait(1000, at(2000*time.Millisecond)); got != 0 {
		t.Errorf("after a restart it is %v", got)
	}
}

func TestOneSlowWindowDoesNotCountAndTwoDo(t *testing.T) {
	t.Parallel()
	var r ackRate
	r.restart(at(0))
	r.add(2500, at(250*time.Millisecond))
	r.add(100, at(700*time.Millisecond)) // The disk had stalled.
	if got := r.wait(500, at(700*time.Millisecond)); got > 60*time.Millisecond {
		t.Errorf("after one slow window the wait behind 500 is %v", got)
	}
	r.add(100, at(1150*time.Millisecond))
	if got := r.wait(500, at(1150*time.Millisecond)); got < time.Second {
		t.Errorf("after two it is %v, at 222 messages a second", got)
	}
}

func TestWaitGrowsWithTheQueue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var r ackRate
		now := time.Duration(0)
		r.restart(at(0))
		for range rapid.IntRange(0, 50).Draw(t, "acks") {
			now += time.Duration(rapid.IntRange(0, int(time.Second)).Draw(t, "later"))
			r.add(rapid.IntRange(1, 1000).Draw(t, "messages"), at(now))
		}
		few := rapid.IntRange(0, 5000).Draw(t, "few")
		many := few + rapid.IntRange(0, 5000).Draw(t, "more")
		if a, b := r.wait(few, at(now)), r.wait(many, at(now)); a < 0 || a > b {
			t.Errorf("behind %d it is %v, behind %d it is %v", few, a, many, b)
		}
	})
}

func TestLingerIsBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		took := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "took"))
		if got := lingerFor(took); got < minLinger || got > maxLinger {
			t.Errorf("after a batch that took %v the next lingers for %v", took, got)
		}
	})
}
