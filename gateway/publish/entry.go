package publish

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// entry is one notification between Store and its result. The Committer's lock protects
// every field but message, result and notifiedAt.
type entry struct {
	message    Message
	result     chan error // Takes one value without blocking.
	notifiedAt time.Time  // When the result was sent, for one entry in latencySample; zero for the others. Written before the send on result, read after the receive.
	completed  bool       // It has its result.
	token      uint64     // Its ack subject as a single message, 0 if it was never sent singly.
	attempts   int        // How often it was sent singly.
	inDoubt    bool       // It was in a batch whose ack is missing; see markInDoubt.
	ackLost    bool       // It was in doubt when the connection broke, so the ack of its batch cannot come.
	deadline   time.Time  // End of its publish timeout.
}

// single is one attempt to send an entry singly.
type single struct {
	*entry
	attempt int
}

// singleMsg is the message as it is published singly. The trace is in the body: nats-server
// 2.15.3 searches all headers for each that it knows, and parses all of them if there is a
// traceparent (server/msgtrace.go).
func (m Message) singleMsg() *nats.Msg {
	return &nats.Msg{Subject: m.Subject, Data: m.Body, Header: nats.Header{
		jetstream.MsgIDHeader:          {m.ID},
		jetstream.ExpectedStreamHeader: {subject.Notifications},
	}}
}

// ackSubject is the reply subject under which an ack comes.
func (c *Committer) ackSubject(token uint64) string {
	return c.inbox + strconv.FormatUint(token, 36)
}

// sendSingle publishes one attempt of a single message. A failure completes the entry,
// unless a later attempt was made meanwhile.
func (c *Committer) sendSingle(s single) {
	m := s.message.singleMsg()
	m.Reply = c.ackSubject(s.token)
	err := c.nc.PublishMsg(m)
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, pending := c.singles[s.token]; pending && s.attempts == s.attempt {
		c.removeSingle(s.token)
		c.complete(s.entry, classify(err))
	}
}

// acked handles the broker's answer to a single message or to a batch.
func (c *Committer) acked(m *nats.Msg) {
	token, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, c.inbox), 36, 64)
	if err != nil {
		return // No message of this Committer has such an ack subject.
	}
	c.mu.Lock()
	b := c.batch
	if b != nil && b.token == token {
		c.mu.Unlock()
		c.batchAcked(b, m)
		return
	}
	now := time.Now()
	if late := c.lateBatch; late != nil && late.token == token {
		c.lateBatch = nil
		c.resolve(late, readAck(m, len(late.entries)))
	}
	if e, pending := c.singles[token]; pending {
		delete(c.singles, token)
		c.acks.add(1, now)
		c.threshold.singleAcked(len(c.singles), now)
		c.singleAcked(e, m)
	}
	o := c.dequeue(now)
	c.mu.Unlock()
	c.send(o)
}

// singleAcked completes an entry by the answer to it as a single message, if that is a
// result; c.mu is held. A duplicate ack is none for an entry in doubt, see expireBatch.
func (c *Committer) singleAcked(e *entry, m *nats.Msg) {
	switch err := readAck(m, 0); {
	case errors.Is(err, errInProcess):
		c.retransmitSoon(e)
	case err != nil || !e.inDoubt || !isDuplicate(m):
		c.complete(e, err)
	case e.ackLost:
		c.complete(e, ErrDisconnected)
	}
}
