package retry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// Clock tells the broker's time, which decides when a parked look-up comes due: the
// clock of a worker's machine may be an hour off. Until it is set it tells this
// machine's time. It is safe for concurrent use.
type Clock struct {
	js  jetstream.JetStream
	now func() time.Time // Of this machine.

	mu     sync.Mutex
	here   time.Time // Just before broker was read, with a monotonic reading.
	broker time.Time
}

// NewClock returns a clock on a machine whose own time is now, that of the
// operating system for nil.
func NewClock(js jetstream.JetStream, now func() time.Time) *Clock {
	if now == nil {
		now = time.Now
	}
	return &Clock{js: js, now: now}
}

// Now is the broker's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.broker.IsZero() {
		return now
	}
	return c.broker.Add(now.Sub(c.here))
}

// readings is how many readings of the broker's time Set compares. The quickest is
// the most exact.
const readings = 3

// Set reads the broker's time. The clock is ahead of it by as long as the question
// took to get there, and never behind: a message that a worker has read is not
// younger than what the worker does next.
func (c *Clock) Set(ctx context.Context) error {
	var here, broker time.Time
	quickest := time.Duration(-1)
	for range readings {
		before := c.now()
		stream, err := c.js.Stream(ctx, subject.LookupRetries)
		if err != nil {
			return fmt.Errorf("read the broker's time: %w", err)
		}
		if took := c.now().Sub(before); quickest < 0 || took < quickest {
			here, broker, quickest = before, stream.CachedInfo().TimeStamp, took
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.here, c.broker = here, broker
	return nil
}

// setEvery is how often Run reads the broker's time. Two clocks drift apart by some
// milliseconds in it.
const setEvery = time.Minute

// Run reads the broker's time regularly until ctx ends. A time that cannot be read
// leaves the clock running as it is.
func (c *Clock) Run(ctx context.Context) error {
	ticker := time.NewTicker(setEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			_ = c.Set(ctx) // The next one comes in a minute.
		}
	}
}
