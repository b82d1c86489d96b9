package webhook

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWaitForTheProcessorIsTakenOffWhatIsTolerable(t *testing.T) {
	t.Parallel()
	const budget = 800 * time.Millisecond
	for around, want := range map[time.Duration]time.Duration{
		0:                      400 * time.Millisecond,
		150 * time.Millisecond: 250 * time.Millisecond,
		time.Minute:            200 * time.Millisecond,
	} {
		if got := queueTime(budget, around); got != want {
			t.Errorf("with %v around it %v is tolerable, want %v", around, got, want)
		}
	}
}

func TestCrowdingRisesAtOnceAndSinksSlowly(t *testing.T) {
	t.Parallel()
	span := rapid.Int64Range(0, int64(time.Minute))
	rapid.Check(t, func(t *rapid.T) {
		var c schedLatency
		for range 10 {
			from, seen := time.Duration(span.Draw(t, "before")), time.Duration(span.Draw(t, "wait"))
			c.wait.Store(int64(from))
			c.observe(seen)
			if got := c.roundTrip() / 2; got < seen || got < from*3/4 || got > max(seen, from) {
				t.Fatalf("%v after %v makes %v", seen, from, got)
			}
		}
		for range 300 {
			c.observe(0)
		}
		if got := c.roundTrip(); got > time.Microsecond {
			t.Errorf("it is still %v after many who did not wait", got)
		}
	})
}

func TestBrokerThatLagsGetsLessWhereCallersWaitForTheProcessor(t *testing.T) {
	t.Parallel()
	began := time.Now()
	enter := func(around time.Duration) error {
		p := &Committer{options: PublisherOptions{Timeout: 800 * time.Millisecond, Queue: 100, QueueBytes: 100}}
		p.patience = newDeadlineQueue(func() {})
		defer p.patience.timer.Stop()
		for range 3 {
			if err := p.enqueue(&entry{}, began); err != nil {
				t.Fatal(err)
			}
		}
		p.pace = ackRate{since: began, rate: 10} // The next would wait for 300 ms.
		p.crowding.observe(around / 2)
		return p.enqueue(&entry{}, began.Add(100*time.Millisecond))
	}
	if err := enter(0); err != nil {
		t.Errorf("nobody waits for the processor, and yet: %v", err)
	}
	if err := enter(200 * time.Millisecond); !errors.Is(err, ErrOverloaded) {
		t.Errorf("callers wait for 200 ms beside, and the answer is: %v", err)
	}
}

func TestBrokerThatLagsGetsHalfUntilItsPaceIsKnown(t *testing.T) {
	t.Parallel()
	began := time.Now()
	p := &Committer{options: PublisherOptions{Timeout: 800 * time.Millisecond, Queue: 100, QueueBytes: 100}}
	p.patience = newDeadlineQueue(func() {})
	defer p.patience.timer.Stop()
	for n := range 60 { // More than half: it does not lag yet.
		if err := p.enqueue(&entry{}, began); err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
	}
	later := began.Add(100 * time.Millisecond)
	if err := p.enqueue(&entry{}, later); !errors.Is(err, ErrOverloaded) {
		t.Errorf("it lags, and nobody knows its pace: %v", err)
	}
	p.pace = ackRate{since: began, rate: 10_000}
	if err := p.enqueue(&entry{}, later); err != nil {
		t.Errorf("its pace is known, and fast: %v", err)
	}
}
