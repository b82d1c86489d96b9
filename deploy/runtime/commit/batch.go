package commit

import (
	"cmp"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxBatchSize is the batch size limit in messages, and maxBatchBytes in bytes.
	// nats-server 2.15.3 takes up to 1,000 messages (server/stream.go,
	// streamDefaultMaxAtomicBatchSize).
	maxBatchSize  = 1000
	minBatchSize  = 3 // Two messages in a batch took longer than two alone on every disk that was measured.
	maxBatchBytes = 2 << 20
	// flushAt is the queue length from which a batch is sent at once, although messages
	// that were sent alone have no answer and the last batch lingers. A guess.
	flushAt = 64
	// batchesOffFor is how long nothing is batched after a broker refused batches as such.
	// A guess: a broker changes its mind by an upgrade or a change of the stream.
	batchesOffFor = time.Minute
	// A batch lingers for a third of the last one's time, within these bounds, for as many
	// messages as that had. Without it, clients that wait for their answers split into two
	// groups whose batches alternate, each of half the size: 0.39 times the rate at 64
	// connections (measured).
	lingerShare = 3
	minLinger   = 200 * time.Microsecond
	maxLinger   = 2 * time.Millisecond
)

// batch is a group of entries that are sent as one atomic batch.
type batch struct {
	token   uint64
	entries []*entry
	sentAt  time.Time
	only    bool // No message that was sent alone was without an answer when the batch was sent.
}

// outgoing is what is sent next: a batch, and messages alone.
type outgoing struct {
	batch *batch
	alone []*entry
}

func (o outgoing) empty() bool { return o.batch == nil && len(o.alone) == 0 }

// next decides what is sent now and takes it off the queue; c.mu is held. Clients
// that wait for their answers send again: so as many messages are expected as were pending
// when the last batch was acked.
func (c *Committer) next(now time.Time) outgoing {
	var o outgoing
	o.alone = c.sendAlone(o.alone, c.resends, now)
	c.resends = nil
	for len(c.queue) > 0 && c.queue[0].state == done {
		c.queue = c.queue[1:]
	}
	n, threshold := len(c.queue), cmp.Or(c.options.Threshold, c.costs.threshold())
	switch {
	case n == 0, c.batch != nil, n < c.lingerUntil:
	case n+len(c.alone) < threshold && c.expected < threshold, !c.options.GroupCommit(), now.Before(c.noBatches):
		o.alone, c.queue, c.expected = c.sendAlone(o.alone, c.queue, now), nil, 0
	case len(c.alone) > 0 && n < flushAt && now.Sub(c.queue[0].at) < c.options.Timeout/lagging:
		// The queue is a batch once the messages that were sent alone are answered.
	default:
		b, rest := c.takeBatch(now)
		o.alone = c.sendAlone(o.alone, rest, now)
		if o.batch = b; b == nil {
			c.expected = 0
		} else {
			b.only = len(c.alone) == 0
		}
	}
	return o
}

// sendAlone adds entries to the messages that are sent alone; c.mu is held. All attempts of
// a message have one token: the answer to any of them counts.
func (c *Committer) sendAlone(list, more []*entry, now time.Time) []*entry {
	for _, e := range more {
		if c.apply(e, sentAlone, Receipt{}, nil); e.state == done {
			continue
		}
		if len(c.alone) == 0 {
			c.costs.sent(now)
		}
		if e.token == 0 {
			c.lastToken++
			e.token = c.lastToken
		}
		e.wait = false
		e.sends++
		c.alone[e.token] = e
		list = append(list, e)
	}
	return list
}

// takeBatch takes as much of the queue as a batch may hold: no id twice, and no two guards
// on one filter, because the broker checks each guard against the state before the batch.
// It returns the messages that may not share the batch, the whole queue if too few may. c.mu is held.
func (c *Committer) takeBatch(now time.Time) (*batch, []*entry) {
	c.lingerUntil = 0
	b, rest := &batch{sentAt: now}, []*entry(nil)
	size, ids, filters := 0, map[string]bool{}, map[string]bool{}
	for ; len(b.entries) < maxBatchSize && len(c.queue) > 0; c.queue = c.queue[1:] {
		e := c.queue[0]
		m := e.message
		if size += len(m.Body); len(b.entries) > 0 && size > maxBatchBytes {
			break
		}
		switch {
		case e.state == done:
		case m.ID != "" && ids[m.ID], m.Guard != nil && filters[m.filter()]:
			rest = append(rest, e)
		default:
			ids[m.ID] = true
			if m.Guard != nil {
				filters[m.filter()] = true
			}
			b.entries = append(b.entries, e)
		}
	}
	if len(b.entries) < minBatchSize {
		rest = append(append(b.entries, rest...), c.queue...)
		c.queue = nil
		return nil, rest
	}
	for _, e := range b.entries {
		c.apply(e, sentInBatch, Receipt{}, nil)
	}
	c.lastToken++
	b.token, c.batch = c.lastToken, b
	return b, rest
}

// send publishes what next decided on. c.mu must not be held.
func (c *Committer) send(o outgoing) {
	if o.batch != nil {
		c.sendBatch(o.batch)
	}
	for _, e := range o.alone {
		m := &nats.Msg{Subject: e.message.Subject, Data: e.message.Body, Header: e.message.headers()}
		m.Header[jetstream.ExpectedStreamHeader] = []string{c.options.Stream}
		m.Reply = c.inbox + strconv.FormatUint(e.token, 36)
		// A connection that broke is handled by watch, which may send e again.
		if err := Classify(c.nc.PublishMsg(m)); err != nil && !errors.Is(err, ErrDisconnected) {
			c.locked(func(time.Time) { c.apply(e, refused, Receipt{}, err) })
		}
	}
}

// locked calls f with the lock, and sends what may be sent after it.
func (c *Committer) locked(f func(now time.Time)) {
	now := time.Now()
	c.mu.Lock()
	f(now)
	c.send(c.unlock(now))
}

// sendBatch publishes a batch. The broker answers to its last message, for all of them. A
// batch without its last message is not stored, so an error on the way means that none is.
func (c *Committer) sendBatch(b *batch) {
	id := []string{c.inbox[len(c.inbox)-9:len(c.inbox)-1] + "-" + strconv.FormatUint(b.token, 36)}
	for i, e := range b.entries {
		m := &nats.Msg{Subject: e.message.Subject, Data: e.message.Body, Header: e.message.headers()}
		m.Header[batchID], m.Header[batchSequence] = id, []string{strconv.Itoa(i + 1)}
		if i == 0 { // The broker refuses a batch as a whole.
			m.Header[jetstream.ExpectedStreamHeader] = []string{c.options.Stream}
		}
		if i == len(b.entries)-1 {
			m.Header[batchCommit] = []string{"1"}
			m.Reply = c.inbox + strconv.FormatUint(b.token, 36)
		}
		if err := c.nc.PublishMsg(m); err != nil {
			c.locked(func(now time.Time) { c.batchFailed(b, Classify(err), now) })
			return
		}
	}
	c.options.Batched(len(b.entries))
}

// answered handles the broker's answer to a message alone or to a batch.
func (c *Committer) answered(m *nats.Msg) {
	token, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, c.inbox), 36, 64)
	if err != nil {
		return // No message of this Committer has such a reply subject.
	}
	c.locked(func(now time.Time) {
		switch b, late, e := c.batch, c.late, c.alone[token]; {
		case b != nil && b.token == token:
			if a, err := c.readAnswer(m, len(b.entries)); err == nil {
				c.batch, c.expected = nil, len(b.entries)+len(c.queue)
				if c.linger(b, now); b.only {
					c.costs.batchAcked(len(b.entries), now.Sub(b.sentAt))
				}
				c.finishBatch(b, a, now)
			} else {
				c.batchFailed(b, err, now)
			}
		case late != nil && late.token == token:
			c.late = nil
			if a, err := c.readAnswer(m, len(late.entries)); err == nil {
				c.finishBatch(late, a, now)
			} else {
				c.applyAll(late, batchRefused)
			}
		case e != nil:
			a, err := c.readAnswer(m, 0)
			r := Receipt{Sequence: a.Sequence, Duplicate: a.Duplicate}
			switch {
			case errors.Is(err, errUnsettled):
				c.apply(e, unsettled, r, nil)
			case err != nil:
				c.apply(e, refused, Receipt{}, err)
			case a.Duplicate:
				c.apply(e, known, r, nil)
			default:
				c.rate.add(1, now, c.options.Timeout/2)
				c.apply(e, stored, r, nil)
				c.costs.acked(len(c.alone), now)
			}
		}
	})
}

// finishBatch applies the ack of a batch, whose messages are stored one behind the other.
// c.mu is held.
func (c *Committer) finishBatch(b *batch, a answer, now time.Time) {
	c.rate.add(len(b.entries), now, c.options.Timeout/2)
	first := a.Sequence - uint64(len(b.entries)) + 1
	for i, e := range b.entries {
		c.apply(e, stored, Receipt{Sequence: first + uint64(i)}, nil)
	}
}

// batchFailed ends a batch that was refused. A fault of one message must not fail the
// others, so each is sent alone. c.mu is held.
func (c *Committer) batchFailed(b *batch, err error, now time.Time) {
	if c.batch != b {
		return
	}
	c.batch = nil
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == batchDisabled || errors.Is(err, errNoBatches) {
		c.noBatches = now.Add(batchesOffFor)
	}
	c.options.FellApart(len(b.entries))
	c.applyAll(b, batchRefused)
}

func (c *Committer) applyAll(b *batch, on event) {
	for _, e := range b.entries {
		c.apply(e, on, Receipt{}, nil)
	}
}

// doubt ends the wait for a batch's answer. c.mu is held.
func (c *Committer) doubt(b *batch, on event) {
	c.batch, c.late = nil, b
	c.options.FellApart(len(b.entries))
	c.applyAll(b, on)
}

// linger delays the next batch until the queue has as many messages as the last batch, or
// the time has passed. c.mu is held.
func (c *Committer) linger(b *batch, now time.Time) {
	if c.lingerUntil = min(len(c.queue)+len(b.entries), maxBatchSize); len(c.queue) >= flushAt {
		c.lingerUntil = 0
		return
	}
	time.AfterFunc(min(max(now.Sub(b.sentAt)/lingerShare, minLinger), maxLinger), func() {
		c.locked(func(time.Time) { c.lingerUntil = 0 })
	})
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
			for _, e := range c.admitted {
				c.apply(e, expired, Receipt{}, ErrDisconnected)
			}
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
		connected, now := <-changes == nats.CONNECTED, time.Now()
		c.mu.Lock()
		if connected {
			c.connected, c.costs = true, costs{from: now}
			c.resend(now)
		} else {
			c.disconnected(now)
		}
		go c.send(c.unlock(now)) // The client drops changes while ten are not received.
	}
	c.locked(func(now time.Time) {
		c.closed = true
		c.disconnected(now)
		for _, e := range c.admitted {
			c.apply(e, expired, Receipt{}, ErrDisconnected)
		}
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
	for _, e := range c.admitted {
		c.apply(e, disconnected, Receipt{}, ErrDisconnected)
	}
	c.queue, c.lingerUntil = nil, 0
}
