package webhook

import "time"

// When notifications travel together, and for how long a batch is put off.
const (
	// crossover is how many concurrent notifications make a batch worth its
	// fixed cost. A broker stages a batch in files of its own, about as much
	// work as syncing a dozen messages one by one.
	crossover = 24
	// maxBatch and maxBatchBytes bound a batch. The broker's own limit is 1,000
	// messages.
	maxBatch      = 1000
	maxBatchBytes = 2 << 20
	// minGather and maxGather bound how long the next batch is put off after a
	// batch was confirmed, so that those who were answered can come back and
	// travel with those who waited. Without it closed-loop clients fall apart
	// into two cohorts, and each batch carries only half of them.
	minGather = 200 * time.Microsecond
	maxGather = 2 * time.Millisecond
	// gatherShare is the part of the last batch's time that may be spent so.
	gatherShare = 8
)

// gatherFor is how long the next batch is put off after one that took so long.
func gatherFor(took time.Duration) time.Duration {
	return min(max(took/gatherShare, minGather), maxGather)
}

// pace is how fast the broker confirms: a moving average of the time per
// message. The zero pace promises everything.
type pace struct{ perMessage time.Duration }

// smoothing is how many observations the average spans.
const smoothing = 4

// saw takes note that so many messages were confirmed in that time.
func (p *pace) saw(messages int, took time.Duration) {
	each := took / time.Duration(max(messages, 1))
	if p.perMessage == 0 {
		p.perMessage = each
		return
	}
	p.perMessage += (each - p.perMessage) / smoothing
}

// wait is how long a message waits that finds so many before it.
func (p *pace) wait(before int) time.Duration { return time.Duration(before) * p.perMessage }
