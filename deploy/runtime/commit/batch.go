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

// request is what the broker gives one answer to: a message alone, or an atomic batch.
type request struct {
	token   uint64 // The end of its reply subject.
	entries []*entry
	batch   bool
	sentAt  time.Time // Of a batch.
	only    bool      // No message that was sent alone was without an answer when the batch was sent.
}

// next decides what is sent now and takes it off the queue; c.mu is held. Clients
// that wait for their answers send again: so as many messages are expected as were pending
// when the last batch was acked.
func (c *Committer) next(now time.Time) []*request {
	requests := c.sendAlone(nil, c.resends, now)
	c.resends = nil
	for len(c.queue) > 0 && c.queue[0].state == done {
		c.queue = c.queue[1:]
	}
	n, threshold := len(c.queue), cmp.Or(c.options.Threshold, c.costs.threshold())
	switch {
	case n == 0, c.batch != nil, c.lingering && n < c.expected:
	case n+len(c.alone) < threshold && c.expected < threshold, !c.options.GroupCommit(), now.Before(c.noBatches):
		requests, c.queue, c.expected = c.sendAlone(requests, c.queue, now), nil, 0
	case len(c.alone) > 0 && n < flushAt && now.Sub(c.queue[0].at) < c.options.Timeout/lagging:
		// The queue is a batch once the messages that were sent alone are answered.
	default:
		rest := c.takeBatch(now)
		if requests = c.sendAlone(requests, rest, now); c.batch != nil {
			c.batch.only = len(c.alone) == 0
			return append(requests, c.batch)
		}
		c.expected = 0
	}
	return requests
}

// sendAlone adds entries to the messages that are sent alone; c.mu is held.
func (c *Committer) sendAlone(requests []*request, more []*entry, now time.Time) []*request {
	for _, e := range more {
		if c.apply(e, sentAlone, Receipt{}, nil); e.state == done {
			continue
		}
		if len(c.alone) == 0 {
			c.costs.sent(now)
		}
		if e.alone == nil {
			c.lastToken++
			e.alone = &request{token: c.lastToken, entries: []*entry{e}}
		}
		e.wait = false
		e.sends++
		c.alone[e.alone.token] = e.alone
		requests = append(requests, e.alone)
	}
	return requests
}

// takeBatch makes a batch of as much of the queue as one may hold, no id twice. It returns
// the messages that may not share the batch, the whole queue if too few may. A guarded
// message is sent alone: the broker checks the guards of a batch against the state before
// it. c.mu is held.
func (c *Committer) takeBatch(now time.Time) (rest []*entry) {
	c.lingering = false
	var together []*entry
	size, ids := 0, map[string]bool{}
	for ; len(together) < maxBatchSize && len(c.queue) > 0; c.queue = c.queue[1:] {
		e := c.queue[0]
		if size += len(e.message.Body); len(together) > 0 && size > maxBatchBytes {
			break
		}
		switch {
		case e.state == done:
		case e.message.Guard != nil, ids[e.message.ID]:
			rest = append(rest, e)
		default:
			ids[e.message.ID] = true
			together = append(together, e)
		}
	}
	if len(together) < minBatchSize {
		rest, c.queue = append(append(together, rest...), c.queue...), nil
		return rest
	}
	c.lastToken++
	c.batch = &request{token: c.lastToken, entries: together, batch: true, sentAt: now}
	c.applyAll(together, sentInBatch, nil)
	return rest
}

func (c *Committer) applyAll(entries []*entry, on event, err error) {
	for _, e := range entries {
		c.apply(e, on, Receipt{}, err)
	}
}

// send publishes requests. The broker answers to the last message of a batch, for all of
// them; a batch without it is not stored. c.mu must not be held.
func (c *Committer) send(requests []*request) {
	for _, r := range requests {
		token := strconv.FormatUint(r.token, 36)
		for i, e := range r.entries {
			m, last := e.message.wire(), i == len(r.entries)-1
			if i == 0 { // The broker refuses a batch as a whole.
				m.Header[jetstream.ExpectedStreamHeader] = []string{c.options.Stream}
			}
			if r.batch {
				m.Header[batchID], m.Header[batchSequence] = []string{c.inbox[len(c.inbox)-9:len(c.inbox)-1] + "-" + token}, []string{strconv.Itoa(i + 1)}
			}
			if last {
				m.Reply = c.inbox + token
			}
			if last && r.batch {
				m.Header[batchCommit] = []string{"1"}
			}
			if err := Classify(c.nc.PublishMsg(m)); err != nil {
				c.locked(func(now time.Time) { c.unsent(r, err, now) })
				break
			}
			if last && r.batch {
				c.options.Batched(len(r.entries))
			}
		}
	}
}

// unsent handles an error of the client. A message alone whose connection broke is handled
// by watch, which may send it again; so is a batch that is in doubt already. c.mu is held.
func (c *Committer) unsent(r *request, err error, now time.Time) {
	if r == c.batch || !r.batch && !errors.Is(err, ErrDisconnected) {
		c.settle(r, answer{}, err, now)
	}
}

// answered handles an answer of the broker.
func (c *Committer) answered(m *nats.Msg) {
	token, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, c.inbox), 36, 64)
	if err != nil {
		return // No message of this Committer has such a reply subject.
	}
	c.locked(func(now time.Time) {
		for _, r := range []*request{c.batch, c.late, c.alone[token]} {
			if r != nil && r.token == token {
				a, err := c.readAnswer(m, r)
				c.settle(r, a, err, now)
				return
			}
		}
	})
}

// settle ends a request. A fault of one message must not fail the others of its batch, so
// each is sent alone then. c.mu is held.
func (c *Committer) settle(r *request, a answer, err error, now time.Time) {
	on := stored
	switch {
	case err != nil && r.batch:
		on = batchRefused
	case errors.Is(err, errUnsettled):
		on = unsettled
	case err != nil:
		on = refused
	case a.Duplicate:
		on = known
	default:
		c.rate.add(len(r.entries), now, c.options.Timeout/2)
	}
	switch {
	case r == c.late:
		c.late = nil
	case r == c.batch && err != nil:
		c.batch = nil
		if errors.Is(err, errNoBatches) {
			c.noBatches = now.Add(batchesOffFor)
		}
		c.options.FellApart(len(r.entries))
	case r == c.batch:
		c.batch = nil
		c.linger(r, now)
	case on == stored:
		c.costs.acked(len(c.alone)-1, now)
	}
	first := a.Sequence + 1 - uint64(len(r.entries)) // Those of a batch are one behind the other.
	for i, e := range r.entries {
		c.apply(e, on, Receipt{Sequence: first + uint64(i), Duplicate: a.Duplicate}, err)
	}
}

// linger delays the next batch until the queue has as many messages as the last batch, or
// the time has passed. c.mu is held.
func (c *Committer) linger(last *request, now time.Time) {
	took, size := now.Sub(last.sentAt), len(last.entries)
	if last.only {
		c.costs.batchAcked(size, took)
	}
	c.expected = size + len(c.queue)
	if c.lingering = len(c.queue) < flushAt; c.lingering {
		time.AfterFunc(min(max(took/lingerShare, minLinger), maxLinger), func() {
			c.locked(func(time.Time) { c.lingering = false })
		})
	}
}
