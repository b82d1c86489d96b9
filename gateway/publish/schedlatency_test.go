package publish

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSchedulingLatencyShortensTheQueueTime(t *testing.T) {
	t.Parallel()
	const timeout = 800 * time.Millisecond
	for latency, want := range map[time.Duration]time.Duration{
		0:                      400 * time.Millisecond,
		150 * time.Millisecond: 250 * time.Millisecond,
		time.Minute:            200 * time.Millisecond,
	} {
		if got := maxQueueTime(timeout, latency); got != want {
			t.Errorf("with %v of latency the queue time is %v, want %v", latency, got, want)
		}
	}
}

func TestSchedulingLatencyRisesAtOnceAndDecaysSlowly(t *testing.T) {
	t.Parallel()
	span := rapid.Int64Range(0, int64(time.Minute))
	rapid.Check(t, func(t *rapid.T) {
		var l schedLatency
		for range 10 {
			from, seen := time.Duration(span.Draw(t, "before")), time.Duration(span.Draw(t, "wait"))
			l.maximum.Store(int64(from))
			l.observe(seen)
			if got := l.roundTrip() / 2; got < seen || got < from*3/4 || got > max(seen, from) {
				t.Fatalf("%v after %v makes %v", seen, from, got)
			}
		}
		for range 300 {
			l.observe(0)
		}
		if got := l.roundTrip(); got > time.Microsecond {
			t.Errorf("it is still %v after 300 samples of zero", got)
		}
	})
}

func TestLaggingBrokerShedsEarlierUnderSchedulingLatency(t *testing.T) {
	t.Parallel()
	began := time.Now()
	enqueue := func(latency time.Duration) error {
		c := &Committer{options: Options{Timeout: 800 * time.Millisecond, Queue: 100, QueueBytes: 100}}
		c.timeouts = newDeadlineQueue(func() {})
		defer c.timeouts.timer.Stop()
		for range 3 {
			if err := c.enqueue(&entry{}, began); err != nil {
				t.Fatal(err)
			}
		}
		c.acks = ackRate{since: began, rate: 10} // The next is queued for 300 ms.
		c.latency.observe(latency / 2)
		return c.enqueue(&entry{}, began.Add(100*time.Millisecond))
	}
	if err := enqueue(0); err != nil {
		t.Errorf("without latency: %v", err)
	}
	if err := enqueue(200 * time.Millisecond); !errors.Is(err, ErrOverloaded) {
		t.Errorf("with 200 ms of latency: %v", err)
	}
}

func TestLaggingBrokerOfUnknownAckRateHasHalfTheQueue(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := &Committer{options: Options{Timeout: 800 * time.Millisecond, Queue: 100, QueueBytes: 100}}
	c.timeouts = newDeadlineQueue(func() {})
	defer c.timeouts.timer.Stop()
	for n := range 60 { // More than half of the queue: the broker does not lag yet.
		if err := c.enqueue(&entry{}, began); err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
	}
	later := began.Add(100 * time.Millisecond)
	if err := c.enqueue(&entry{}, later); !errors.Is(err, ErrOverloaded) {
		t.Errorf("it lags at an unknown ack rate: %v", err)
	}
	c.acks = ackRate{since: began, rate: 10_000}
	if err := c.enqueue(&entry{}, later); err != nil {
		t.Errorf("it lags at a known, high ack rate: %v", err)
	}
}
