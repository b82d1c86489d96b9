package publish

import (
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// batch is a group of entries that are stored as one atomic batch.
type batch struct {
	token   uint64 // Its ack subject.
	entries []*entry
	sentAt  time.Time
	idle    bool // No single message was without an ack when the batch was sent, so its time is its own.
	expiry  *time.Timer
}

// The headers of an atomic batch (nats-architecture-and-design, ADR-50).
const (
	batchID       = "Nats-Batch-Id"
	batchSequence = "Nats-Batch-Sequence"
	batchCommit   = "Nats-Batch-Commit"
)

// batchesOffFor is how long everything is published singly after a broker refused batches
// as such. A guess: a broker changes its mind by an upgrade or a change of the stream.
const batchesOffFor = time.Minute

// sendBatch publishes a batch. The broker acks its last message, for all of them. A batch
// without its last message is not stored, so an error on the way means that none is.
func (c *Committer) sendBatch(b *batch) {
	// PublishMsg copies the message before it returns, so one Msg is reused.
	id, sequence := []string{""}, []string{""}
	m := nats.Msg{Header: nats.Header{
		jetstream.MsgIDHeader: id, batchSequence: sequence,
		batchID: {c.inbox[len(c.inbox)-9:len(c.inbox)-1] + "-" + strconv.FormatUint(b.token, 36)},
		// On the first message only: the broker refuses a batch as a whole.
		jetstream.ExpectedStreamHeader: {subject.Notifications},
	}}
	for i, e := range b.entries {
		id[0], sequence[0] = e.message.ID, strconv.Itoa(i+1)
		m.Subject, m.Data = e.message.Subject, e.message.Body
		if i == len(b.entries)-1 {
			m.Header[batchCommit] = []string{"1"}
			m.Reply = c.ackSubject(b.token)
		}
		if err := c.nc.PublishMsg(&m); err != nil {
			c.batchFailed(b, err)
			return
		}
		delete(m.Header, jetstream.ExpectedStreamHeader)
	}
	c.metrics.batchSent(len(b.entries))
}

// batchFailed ends a batch that was refused or has no ack. A fault of one message must
// not fail the others, so each is sent singly, unless no message could be stored.
func (c *Committer) batchFailed(b *batch, err error) {
	c.mu.Lock()
	if !c.endBatch(b) {
		c.mu.Unlock()
		return
	}
	now := time.Now()
	err = classify(err)
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == batchDisabled || errors.Is(err, errNoBatches) {
		c.batchesOffUntil = now.Add(batchesOffFor)
	}
	hopeless := errors.Is(err, ErrDisconnected) || errors.Is(err, ErrMissing)
	if !hopeless {
		c.threshold.batchRefused(len(b.entries), now.Sub(b.sentAt), now)
	}
	retries := c.retrySingly(b.entries, hopeless, err)
	c.mu.Unlock()
	c.metrics.fellBack(len(retries))
	c.send(outgoing{singles: retries})
	c.pump()
}

// retrySingly completes entries with err if a retry is hopeless, else it returns those
// that are not completed, for the caller to send singly. c.mu is held.
func (c *Committer) retrySingly(entries []*entry, hopeless bool, err error) []single {
	now := time.Now()
	var list []single
	for _, e := range entries {
		switch {
		case hopeless:
			c.complete(e, err)
		case !e.completed:
			list = append(list, c.startSingle(e, now))
		}
	}
	return list
}

// expireBatch ends the wait for a batch's ack. Its messages are sent singly under the
// same ids, of which the stream stores each once.
//
// A duplicate ack of such a message is no proof of durability. nats-server 2.15.3
// (server/stream.go, processJetStreamAtomicBatchMsg) sends no ack for a batch whose sync
// failed, yet keeps its ids in the duplicate window, and a power cut would lose the
// messages. Before this may go, check that a failed FlushAllPending there is answered
// with an error or removes the ids.
func (c *Committer) expireBatch(b *batch) {
	c.mu.Lock()
	if c.batch == b {
		c.markInDoubt(b)
	}
	c.mu.Unlock()
	c.batchFailed(b, ErrTimeout)
}

// markInDoubt marks the messages of a batch without an ack. Only the ack of that batch,
// or of a message that was stored again, completes them as stored; a duplicate ack does
// not. c.mu is held.
func (c *Committer) markInDoubt(b *batch) {
	c.lateBatch = b
	for _, e := range b.entries {
		e.inDoubt = true
	}
}

// endBatch ends the wait for the batch's ack, and reports false if it has ended before;
// c.mu is held.
func (c *Committer) endBatch(b *batch) bool {
	if c.batch != b {
		return false
	}
	b.expiry.Stop()
	c.batch = nil
	return true
}

// batchAcked completes the entries of a batch, and sends or delays the next batch.
func (c *Committer) batchAcked(b *batch, m *nats.Msg) {
	if err := readAck(m, len(b.entries)); err != nil {
		c.batchFailed(b, err)
		return
	}
	c.mu.Lock()
	if !c.endBatch(b) {
		c.mu.Unlock()
		return
	}
	now := time.Now()
	c.acks.add(len(b.entries), now)
	c.pendingAtLastAck = c.pending
	if b.idle {
		c.threshold.batchAcked(len(b.entries), now.Sub(b.sentAt), now)
	}
	if len(c.queue) < lingerBelow {
		c.linger(len(b.entries), now.Sub(b.sentAt))
	}
	var completed []*entry // Notified after the unlock: notifying a large batch takes long.
	for _, e := range b.entries {
		if c.markCompleted(e) {
			completed = append(completed, e)
		}
	}
	o := c.dequeue(now)
	c.mu.Unlock()
	c.send(o) // Before the callers are notified, so that the broker works meanwhile.
	for _, e := range completed {
		c.notify(e, nil)
	}
}

// resolve handles the ack of a batch in doubt, whose entries were sent singly meanwhile.
// If the broker refused the batch it stored nothing of it, so a duplicate ack of an
// entry is about a message that was stored and acked before. c.mu is held.
func (c *Committer) resolve(b *batch, refused error) {
	for _, e := range b.entries {
		e.inDoubt = false
		if refused == nil {
			c.complete(e, nil)
			c.removeSingle(e.token)
		}
	}
}
