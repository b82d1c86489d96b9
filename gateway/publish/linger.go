package publish

import "time"

const (
	// lingerBelow is the queue length from which a batch does not linger: its fixed cost
	// is small beside the rest. A guess.
	lingerBelow = 64
	// minLinger and maxLinger bound how long a batch lingers after the ack of the batch
	// before. Without it, closed-loop clients split into two groups that alternate, and
	// each batch carries half of them. A guess.
	minLinger = 200 * time.Microsecond
	maxLinger = 2 * time.Millisecond
	// lingerShare is the part of the last batch's time that may be spent lingering: a
	// third, about the time in which clients of a small batch send their next request. A
	// guess.
	lingerShare = 3
)

// lingerFor is how long a batch lingers when the batch before it took so long.
func lingerFor(took time.Duration) time.Duration {
	return min(max(took/lingerShare, minLinger), maxLinger)
}

// linger delays the next batch until the queue has as many messages as were acked and
// queued at this ack, or until lingerFor has passed. The time counts from the ack, so a
// message that comes later is never delayed. c.mu is held.
func (c *Committer) linger(acked int, took time.Duration) {
	c.lingerUntil = min(len(c.queue)+acked, maxBatch)
	if c.lingerUntil <= len(c.queue) || c.lingerUntil < minThreshold {
		return
	}
	c.lingering = true
	time.AfterFunc(lingerFor(took), func() {
		c.mu.Lock()
		c.lingering = false
		c.mu.Unlock()
		c.pump()
	})
}
