package webhook

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// entry is one notification between Store and its confirmation. All but the
// message and the channel belong to the publisher's lock.
type entry struct {
	message Message
	result  chan error // Takes one value without blocking.
	told    time.Time  // When that was sent, for a sample of all; zero for the others. It belongs to whoever sends, then to whoever receives.
	settled bool       // It has its result.
	token   uint64     // On its way alone under this token, 0 if it never was.
	flights int        // How often it went alone.
	doubted bool       // It was in a batch without a confirmation.
	severed bool       // It was doubted when the connection broke, so that no confirmation of its batch can follow.
	until   time.Time  // It is told by then at the latest.
}

// single is one sending of an entry that goes alone.
type single struct {
	*entry
	number int
}

// batch is a group on its way.
type batch struct {
	token   uint64
	entries []*entry
	sent    time.Time
	first   bool // Nothing else was on its way when it was sent.
	expiry  *time.Timer
}

// The headers of an atomic batch (the broker's ADR-50).
const (
	batchID       = "Nats-Batch-Id"
	batchSequence = "Nats-Batch-Sequence"
	batchCommit   = "Nats-Batch-Commit"
)

// batchesOffFor is how long no batch is tried after the broker took none.
const batchesOffFor = time.Minute

// wire is the message as the broker gets it. It has no header that is not
// needed: the broker searches all of them several times for each message, and
// for a sampled trace among them it takes all apart. So the trace is in the
// body.
func (m Message) wire() *nats.Msg {
	return &nats.Msg{Subject: m.Subject, Data: m.Body, Header: nats.Header{jetstream.MsgIDHeader: {m.ID}}}
}

// reply is the subject of a confirmation.
func (p *Committer) reply(token uint64) string {
	return p.inbox + strconv.FormatUint(token, 36)
}

// sendSingle publishes one message that is on the list of those alone. Where that
// fails it ends, unless it has been sent again meanwhile.
func (p *Committer) sendSingle(f single) {
	m := f.message.wire()
	m.Header[jetstream.ExpectedStreamHeader] = []string{subject.Notifications}
	m.Reply = p.reply(f.token)
	err := p.nc.PublishMsg(m)
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, flying := p.alone[f.token]; flying && f.flights == f.number {
		p.remove(f.token)
		p.complete(f.entry, classify(err))
	}
}

// sendBatch publishes a batch. Only its last message asks for a confirmation:
// of the whole. A batch without its last message is none, so an error on the
// way means that nothing of it is stored.
func (p *Committer) sendBatch(b *batch) {
	// The client has copied a message when it returns, so one does for all.
	id, sequence := []string{""}, []string{""}
	m := nats.Msg{Header: nats.Header{
		jetstream.MsgIDHeader: id, batchSequence: sequence,
		batchID: {p.inbox[len(p.inbox)-9:len(p.inbox)-1] + "-" + strconv.FormatUint(b.token, 36)},
		// Of the first alone: a batch is refused as a whole.
		jetstream.ExpectedStreamHeader: {subject.Notifications},
	}}
	for i, e := range b.entries {
		id[0], sequence[0] = e.message.ID, strconv.Itoa(i+1)
		m.Subject, m.Data = e.message.Subject, e.message.Body
		if i == len(b.entries)-1 {
			m.Header[batchCommit] = []string{"1"}
			m.Reply = p.reply(b.token)
		}
		if err := p.nc.PublishMsg(&m); err != nil {
			p.refuse(b, err)
			return
		}
		delete(m.Header, jetstream.ExpectedStreamHeader)
	}
	p.metrics.sent(len(b.entries))
}

// refuse ends a batch of which nothing is stored. What is wrong with one of
// its messages must not harm the others, so they go on one by one, unless
// none of them could.
func (p *Committer) refuse(b *batch, err error) {
	p.mu.Lock()
	if !p.finishBatch(b) {
		p.mu.Unlock()
		return
	}
	now := time.Now()
	err = classify(err)
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == batchDisabled || errors.Is(err, errNoBatches) {
		p.ungrouped = now.Add(batchesOffFor)
	}
	hopeless := errors.Is(err, ErrDisconnected) || errors.Is(err, ErrMissing)
	if !hopeless {
		p.worth.refusedBatch(len(b.entries), now.Sub(b.sent), now)
	}
	again := p.retrySingly(b.entries, hopeless, err)
	p.mu.Unlock()
	p.metrics.countRefusedBatch(len(again))
	p.send(sending{alone: again})
	p.pump()
}

// retrySingly settles entries with err where there is no hope, else makes them fly
// alone; p.mu is held. The caller sends those that it returns.
func (p *Committer) retrySingly(entries []*entry, hopeless bool, err error) []single {
	now := time.Now()
	var list []single
	for _, e := range entries {
		switch {
		case hopeless:
			p.complete(e, err)
		case !e.settled:
			list = append(list, p.startSingle(e, now))
		}
	}
	return list
}

// expire ends the wait for a batch's confirmation. Its outcome is unknown, so
// its messages are sent again under the same ids: the stream stores each once.
// That one is known already does not confirm it. By its source the broker says
// nothing of a batch whose sync failed, and yet knows its messages, which a
// power cut would take. Only the batch's own confirmation counts, should it come
// after all.
func (p *Committer) expire(b *batch) {
	p.mu.Lock()
	if p.batch == b {
		p.markInDoubt(b)
	}
	p.mu.Unlock()
	p.refuse(b, ErrTimeout)
}

// markInDoubt marks the messages of a batch without a confirmation: from here on only the
// batch's own confirmation, or that of a message stored again, confirms them. A
// duplicate does not. p.mu is held.
func (p *Committer) markInDoubt(b *batch) {
	p.late = b
	for _, e := range b.entries {
		e.doubted = true
	}
}

// finishBatch takes a batch off its way, and reports false where somebody else has;
// p.mu is held.
func (p *Committer) finishBatch(b *batch) bool {
	if p.batch != b {
		return false
	}
	b.expiry.Stop()
	p.batch = nil
	return true
}

// confirmed takes the broker's answer to a message or a batch.
func (p *Committer) confirmed(m *nats.Msg) {
	token, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, p.inbox), 36, 64)
	if err != nil {
		return // Not ours: nothing that we sent has it.
	}
	p.mu.Lock()
	b := p.batch
	if b != nil && b.token == token {
		p.mu.Unlock()
		p.confirmedBatch(b, m)
		return
	}
	now := time.Now()
	if late := p.late; late != nil && late.token == token {
		p.late = nil
		p.resolve(late, readAck(m, len(late.entries)))
	}
	if e, flying := p.alone[token]; flying {
		delete(p.alone, token)
		p.pace.add(1, now)
		p.worth.confirmed(len(p.alone), now)
		switch err := readAck(m, 0); {
		case errors.Is(err, errStillStoring):
			p.retransmitSoon(e)
		case err != nil || !e.doubted || !isDuplicate(m):
			p.complete(e, err)
		case e.severed:
			p.complete(e, ErrDisconnected)
		}
	}
	s := p.next(now)
	p.mu.Unlock()
	p.send(s)
}

// confirmedBatch settles a batch and puts off the next one a little.
func (p *Committer) confirmedBatch(b *batch, m *nats.Msg) {
	if err := readAck(m, len(b.entries)); err != nil {
		p.refuse(b, err)
		return
	}
	p.mu.Lock()
	if !p.finishBatch(b) {
		p.mu.Unlock()
		return
	}
	now := time.Now()
	p.pace.add(len(b.entries), now)
	p.around = p.held
	if b.first {
		p.worth.confirmedBatch(len(b.entries), now.Sub(b.sent), now)
	}
	if len(p.waiting) < crowd {
		p.linger(len(b.entries), now.Sub(b.sent))
	}
	var told []*entry // Outside of the lock: to tell them all takes longer than others should wait for it.
	for _, e := range b.entries {
		if p.completesBatch(e) {
			told = append(told, e)
		}
	}
	s := p.next(now)
	p.mu.Unlock()
	p.send(s) // First, so that the broker has something to do while callers are told.
	for _, e := range told {
		p.notify(e, nil)
	}
}

// resolve takes the answer that came late for a batch whose entries are on
// their way alone by now. A refused one has stored nothing, so what is known of
// its messages was stored before, and confirmed; p.mu is held.
func (p *Committer) resolve(b *batch, refused error) {
	for _, e := range b.entries {
		e.doubted = false
		if refused == nil {
			p.complete(e, nil)
			p.remove(e.token)
		}
	}
}

// linger puts the next batch off until so many have come as were on their way
// or waiting, or until its time is over; p.mu is held. It counts from the
// confirmation, so a request that comes later never waits for company.
func (p *Committer) linger(answered int, took time.Duration) {
	p.target = min(len(p.waiting)+answered, maxBatch)
	if p.target <= len(p.waiting) || p.target < fromFewest {
		return
	}
	p.gathering = true
	time.AfterFunc(lingerFor(took), func() {
		p.mu.Lock()
		p.gathering = false
		p.mu.Unlock()
		p.pump()
	})
}
