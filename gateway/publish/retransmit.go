package publish

import "time"

// retransmitOverdue sends single messages a second time that have no ack after half of
// the publish timeout; see startSingle.
func (c *Committer) retransmitOverdue() {
	c.mu.Lock()
	now := time.Now()
	var list []single
	for _, e := range c.retransmits.takeExpired(now) {
		if _, pending := c.singles[e.token]; pending {
			list = append(list, c.startSingle(e, now))
		}
	}
	c.mu.Unlock()
	c.send(outgoing{singles: list})
}

// inProcessDelay is how long a replicated stream gets to finish a message before it is
// retransmitted. A guess: a few round trips between brokers.
const inProcessDelay = 20 * time.Millisecond

// retransmitSoon sends a message again that a replicated stream reported to be in
// process; c.mu is held.
func (c *Committer) retransmitSoon(e *entry) {
	c.singles[e.token] = e
	time.AfterFunc(inProcessDelay, func() {
		c.mu.Lock()
		var list []single
		if _, pending := c.singles[e.token]; pending {
			list = append(list, c.startSingle(e, time.Now()))
		}
		c.mu.Unlock()
		c.send(outgoing{singles: list})
	})
}
