package retry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/wait"
	"arauto/schemas/subject"
)

// Clock tells the broker's time, by which scheduled look-ups become due: a worker's
// own clock may be an hour off. Until Set succeeds it tells the machine's time. It
// is safe for concurrent use.
type Clock struct {
	js  jetstream.JetStream
	now func() time.Time // The machine's time.

	mu     sync.Mutex
	here   time.Time // The machine's time just before broker was read, with a monotonic reading.
	broker time.Time
}

// NewClock returns a clock that measures elapsed time with now, or with time.Now
// for nil.
func NewClock(js jetstream.JetStream, now func() time.Time) *Clock {
	if now == nil {
		now = time.Now
	}
	return &Clock{js: js, now: now}
}

// Now returns the broker's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.broker.IsZero() {
		return now
	}
	return c.broker.Add(now.Sub(c.here))
}

// readings is how often Set reads the broker's time; it keeps the quickest reading,
// which is the most exact. A guess: a scheduling delay rarely hits three in a row.
const readings = 3

// Set reads the broker's time. The clock is then ahead of the broker by the time that the
// request took, and never behind: no message that was read is dated after the next action.
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

// setEvery is how often Run reads the broker's time. A guess: two machines' clocks
// drift apart by milliseconds within a minute.
const setEvery = time.Minute

// Run calls Set every minute until ctx ends. After a failed reading the clock runs
// on from the last one.
func (c *Clock) Run(ctx context.Context) error {
	for wait.For(ctx, setEvery) {
		_ = c.Set(ctx) // Read again in a minute.
	}
	return nil
}
