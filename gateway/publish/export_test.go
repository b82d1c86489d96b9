package publish

import "time"

// SetBatchThreshold fixes the batch threshold, 0 for the learned one.
func (c *Committer) SetBatchThreshold(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.threshold.fixed = n
}

// MeasuredBatches reports whether the cost of a batch was measured.
func (c *Committer) MeasuredBatches() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.threshold.batchCost.count > 0
}

// SetAckRate sets the measured ack rate, in messages per second.
func (c *Committer) SetAckRate(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acks = ackRate{since: time.Now(), rate: rate}
}

// SchedLatency is the measured scheduling latency, twice.
func (c *Committer) SchedLatency() time.Duration { return c.latency.roundTrip() }
