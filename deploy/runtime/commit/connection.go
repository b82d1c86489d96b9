package commit

import (
	"time"

	"github.com/nats-io/nats.go"
)

// doubt ends the wait for a batch's answer. c.mu is held.
func (c *Committer) doubt(b *request, on event) {
	c.batch, c.late = nil, b
	c.options.FellApart(len(b.entries))
	c.applyAll(b.entries, on, nil)
}

// interval is the time between two ticks: 25 ms, less for a timeout below 800 ms. So an
// unsettled message is sent again after a few round trips between brokers.
func (c *Committer) interval() time.Duration { return min(c.options.Timeout/32, 25*time.Millisecond) }

// tick ends what takes too long, and sends again what has no answer. It runs while there is
// a message without a result.
func (c *Committer) tick() {
	c.locked(func(now time.Time) {
		for age := c.oldest(now); age >= c.options.Timeout; age = c.oldest(now) {
			c.apply(c.admitted[0], expired, Receipt{}, ErrTimeout)
		}
		if b := c.batch; b != nil && now.Sub(b.sentAt) >= c.options.Timeout/2 {
			c.doubt(b, batchSilent)
		}
		if c.connected {
			c.resend(now)
		} else if now.Sub(c.brokeAt) >= c.options.ReconnectGrace {
			c.applyAll(c.admitted, expired, ErrDisconnected)
		}
		c.ticker.Reset(c.interval()) // Unless unlock stops it.
	})
}

// resend sends entries again that wait for that, and those without an answer after half of
// the timeout, once. c.mu is held.
func (c *Committer) resend(now time.Time) {
	for _, e := range c.admitted {
		switch {
		case e.state == done:
		case e.wait:
			c.resends = append(c.resends, e)
		case e.sends == 1 && now.Sub(e.at) >= c.options.Timeout/2:
			c.apply(e, overdue, Receipt{}, nil)
		}
	}
}

// watch follows the connection until it is closed for good.
func (c *Committer) watch(changes chan nats.Status) {
	defer c.nc.RemoveStatusListener(changes)
	for !c.nc.IsClosed() {
		connected := <-changes == nats.CONNECTED
		c.locked(func(now time.Time) {
			if connected {
				c.connected, c.costs = true, costs{from: now}
				c.resend(now)
			} else {
				c.disconnected(now)
			}
		})
	}
	c.locked(func(now time.Time) {
		c.disconnected(now)
		c.applyAll(c.admitted, expired, ErrDisconnected)
	})
}

// disconnected handles a connection that broke: queued messages were not sent and fail,
// others are sent again if the client reconnects in time. c.mu is held.
func (c *Committer) disconnected(now time.Time) {
	if c.connected {
		c.connected, c.brokeAt = false, now
	}
	if c.batch != nil {
		c.doubt(c.batch, disconnected)
	}
	c.applyAll(c.admitted, disconnected, ErrDisconnected)
	c.queue, c.lingering = nil, false
}
