package publish

import (
	"time"

	"github.com/nats-io/nats.go"
)

// watch follows the connection until it is closed for good.
func (c *Committer) watch(changes chan nats.Status) {
	defer c.nc.RemoveStatusListener(changes)
	for !c.nc.IsClosed() {
		switch <-changes {
		case nats.CONNECTED:
			c.resend()
		case nats.CLOSED:
		default:
			c.disconnected()
		}
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.disconnected()
	c.failInterrupted()
}

// disconnected handles the entries of a connection that broke. Queued entries were not sent
// and fail. Sent entries may be stored, and are sent again under their ids if the client
// reconnects within ReconnectGrace. A batch is in doubt like in expireBatch.
func (c *Committer) disconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.queue {
		c.complete(e, ErrDisconnected)
	}
	c.queue, c.lingering = nil, false
	c.threshold.stopBusy()
	first := len(c.interrupted) == 0
	if b := c.batch; b != nil && c.endBatch(b) {
		c.markInDoubt(b)
		c.interrupted = append(c.interrupted, b.entries...)
	}
	for token, e := range c.singles {
		delete(c.singles, token)
		c.interrupted = append(c.interrupted, e)
	}
	for _, e := range c.interrupted {
		e.ackLost = e.inDoubt
	}
	if first && len(c.interrupted) > 0 {
		time.AfterFunc(c.options.ReconnectGrace, c.failInterrupted)
	}
}

// failInterrupted completes the entries that still wait for a new connection.
func (c *Committer) failInterrupted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.interrupted {
		c.complete(e, ErrDisconnected)
	}
	c.interrupted = nil
}

// resend sends the interrupted entries on a new connection, under the same ids: the
// stream stores an id once.
func (c *Committer) resend() {
	c.mu.Lock()
	list := c.retrySingly(c.interrupted, false, nil)
	c.interrupted = nil
	c.mu.Unlock()
	c.send(outgoing{singles: list})
	c.pump()
}
