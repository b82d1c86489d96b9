package publish

import "time"

const (
	// flushAt is the queue length from which a batch is sent although singles are without
	// an ack. A shorter queue is held until they are acked, for maxHold at most. Both are
	// guesses.
	flushAt = 24
	maxHold = 50 * time.Millisecond
	// maxBatch and maxBatchBytes bound a batch. nats-server 2.15.3 takes up to 1,000
	// messages (server/stream.go, streamDefaultMaxAtomicBatchSize).
	maxBatch      = 1000
	maxBatchBytes = 2 << 20
)

// outgoing is what is sent next: a batch, or single messages.
type outgoing struct {
	batch   *batch
	singles []single
}

func (o outgoing) empty() bool { return o.batch == nil && len(o.singles) == 0 }

// dequeue decides what is sent now and takes it off the queue; c.mu is held. The caller
// sends it after the unlock.
func (c *Committer) dequeue(now time.Time) outgoing {
	c.dropCompleted()
	if len(c.singles) == 0 {
		c.holdingSince = time.Time{}
	}
	queued := len(c.queue)
	switch {
	case queued == 0, c.batch != nil, c.lingering && queued < c.lingerUntil:
		return outgoing{}
	case !c.options.GroupCommit() || now.Before(c.batchesOffUntil) || !c.batchPays(queued+len(c.singles), now):
		return outgoing{singles: c.takeSingles(now)}
	case len(c.singles) > 0 && queued < flushAt && !c.heldTooLong(now):
		return outgoing{} // The queue is a batch once the singles are acked.
	case queued < minThreshold:
		c.holdingSince = time.Time{} // The next queue is held for its own time.
		return outgoing{singles: c.takeSingles(now)}
	}
	c.lingering = false
	return outgoing{batch: c.takeBatch(now)}
}

// heldTooLong reports whether the queue has been held for maxHold, so that a message
// which is never acked does not block it. The first call starts the time. c.mu is held.
func (c *Committer) heldTooLong(now time.Time) bool {
	if c.holdingSince.IsZero() {
		c.holdingSince = now
		time.AfterFunc(maxHold, c.pump)
	}
	return now.Sub(c.holdingSince) >= maxHold
}

// batchPays reports whether that many concurrent notifications are worth a batch. Once
// half as many as were pending at the last batch's ack are here, the others are expected
// soon, and count. c.mu is held.
func (c *Committer) batchPays(concurrent int, now time.Time) bool {
	expected := concurrent
	if 2*concurrent >= c.pendingAtLastAck {
		expected = max(concurrent, c.pendingAtLastAck)
	}
	return concurrent >= minThreshold && expected >= c.threshold.current(now)
}

// batchThreshold is the learned batch threshold, for its metric.
func (c *Committer) batchThreshold() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return float64(c.threshold.learned())
}

// dropCompleted removes entries that timed out or were canceled from the head of the
// queue; c.mu is held.
func (c *Committer) dropCompleted() {
	n := 0
	for n < len(c.queue) && c.queue[n].completed {
		n++
	}
	c.queue = c.queue[n:]
}

// takeSingles empties the queue into single messages; c.mu is held. A completed entry is
// not sent, because its caller got an error.
func (c *Committer) takeSingles(now time.Time) []single {
	if len(c.singles) == 0 {
		c.threshold.startBusy(now)
	}
	taken := make([]single, 0, len(c.queue))
	for _, e := range c.queue {
		if !e.completed {
			taken = append(taken, c.startSingle(e, now))
		}
	}
	c.queue, c.lingering, c.pendingAtLastAck = nil, false, 0
	return taken
}

// startSingle begins an attempt to store an entry as a single message, for the caller to
// send; c.mu is held. All attempts have one token: the ack of any of them counts.
//
// The message is retransmitted after half of the publish timeout, because nats-server
// 2.15.3 (server/stream.go, processJetStreamMsg, canRespond) sends no ack for a message
// that a replica received as leader and applied after it lost the leadership.
func (c *Committer) startSingle(e *entry, now time.Time) single {
	if e.token == 0 {
		c.lastToken++
		e.token = c.lastToken
	}
	e.attempts++
	c.singles[e.token] = e
	if e.attempts == 1 && now.Add(c.options.Timeout/2).Before(e.deadline) {
		c.retransmits.add(e, now.Add(c.options.Timeout/2))
	}
	return single{e, e.attempts}
}

// takeBatch takes as much of the queue as a batch may hold; c.mu is held.
func (c *Committer) takeBatch(now time.Time) *batch {
	c.lastToken++
	b := &batch{token: c.lastToken, sentAt: now, idle: len(c.singles) == 0}
	c.threshold.batchSent()
	size := 0
	for len(b.entries) < maxBatch && len(c.queue) > 0 {
		e := c.queue[0]
		if e.completed {
			c.queue = c.queue[1:]
			continue
		}
		size += len(e.message.Body)
		if size > maxBatchBytes && len(b.entries) > 0 {
			break
		}
		b.entries, c.queue = append(b.entries, e), c.queue[1:]
	}
	b.expiry = time.AfterFunc(c.options.Timeout/2, func() { c.expireBatch(b) })
	c.batch = b
	return b
}
