package webhook

import (
	"sync/atomic"
	"time"
)

// sampled is of how many confirmed messages one tells how long its caller took
// to wake up. The reading of a clock is not free.
const sampled = 32

// schedLatency is how long a caller lately waited for the processor, once his result
// was there. A webhook waits as long before the publisher hears of it, and nobody
// else can tell us: so it stands for both. The zero value knows of no wait.
type schedLatency struct{ wait atomic.Int64 }

// observe takes note that a caller woke up so long after his result. What is less
// than before sinks in slowly: callers that wait do so in bursts.
func (c *schedLatency) observe(wait time.Duration) {
	before := time.Duration(c.wait.Load())
	c.wait.Store(int64(max(wait, before-before/8)))
}

// roundTrip is how long a webhook waits for the processor before and after its time
// in the publisher, together.
func (c *schedLatency) roundTrip() time.Duration { return 2 * time.Duration(c.wait.Load()) }

// queueTime is how long a message may wait for the broker, so that its caller
// has his answer within the budget though not everything goes as expected: half
// of it, less what he waits for the processor, and a quarter in any case.
func queueTime(budget, around time.Duration) time.Duration {
	return max(budget/2-around, budget/4)
}
