package publish

import (
	"sync/atomic"
	"time"
)

// latencySample is how many completed messages share one measurement of scheduling
// latency. Reading the clock for each would cost more than it tells.
const latencySample = 32

// schedLatency is a decaying maximum of scheduling latency: how long a caller's
// goroutine waits for a processor after its message was completed. The zero value is no
// latency.
type schedLatency struct{ maximum atomic.Int64 } // Nanoseconds.

// observe takes one measurement. A lower one decays the maximum by an eighth only,
// because latency comes in bursts.
func (l *schedLatency) observe(wait time.Duration) {
	before := time.Duration(l.maximum.Load())
	l.maximum.Store(int64(max(wait, before-before/8)))
}

// roundTrip is the latency before and after a message's time in the Committer. Only the
// wake-up after it can be measured; the wait before it is assumed to be as long.
func (l *schedLatency) roundTrip() time.Duration { return 2 * time.Duration(l.maximum.Load()) }

// maxQueueTime is how long a message may be queued so that its ack still comes within
// the publish timeout: half of it as a reserve, less the scheduling latency, and at
// least a quarter.
func maxQueueTime(timeout, roundTrip time.Duration) time.Duration {
	return max(timeout/2-roundTrip, timeout/4)
}
