package webhook

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// PublisherOptions say how notifications are stored. A zero limit or time
// means its default.
type PublisherOptions struct {
	// Timeout is how long a store may take; 800 ms by default. What would wait
	// for longer than half of it is refused at once, and sooner where callers wait
	// for the processor too.
	Timeout time.Duration

	// Group reports whether concurrent notifications travel as one atomic
	// batch. That pays where the broker syncs every write to disk, because a
	// batch is synced once; on a broker that syncs lazily it costs. Nil means
	// never. It is asked often, so it must not block.
	Group func() bool

	// Up reports whether the connection stands. By default the client itself is
	// asked, which takes its lock: it holds that for seconds while it dials a host
	// that is gone.
	Up func() bool

	Queue      int // Notifications that may wait or be on their way at once; DefaultQueue by default.
	QueueBytes int // Bytes of their bodies; 32 MiB by default.

	// ReconnectGrace is how long a message that was on its way when the
	// connection broke waits for it to come back, to be sent again under the
	// same id; 25 ms by default. The client's first try comes at once, so what
	// takes longer is an outage.
	ReconnectGrace time.Duration

	Registerer prometheus.Registerer // Nil for no metrics.
}

// DefaultQueue is how many notifications may wait for the broker.
const DefaultQueue = 4096

// Committer stores notifications on the NOTIFICATIONS stream.
//
// Few concurrent ones are published one by one. Where more wait than has shown
// to be worth a batch on this broker, they are committed as a group: whatever
// came in while one batch was on its way is the next batch. Everything happens
// in the goroutines of the callers and of the broker's client; see next for the
// one place where it is decided what goes out.
type Committer struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	options PublisherOptions
	inbox   string // Ends with a dot; a token follows.
	metrics *publisherMetrics

	crowding schedLatency
	fullness streamFull
	told     atomic.Uint64 // Callers that were woken.
	refusing atomic.Int64  // Until when a message would hardly be let in, in nanoseconds since 1970; 0 if none was refused.

	mu        sync.Mutex
	closed    bool              // The connection is gone for good.
	waiting   []*entry          // Not yet handed to the broker.
	bytes     int               // Of the bodies of all entries that are not settled.
	held      int               // Entries that are not settled.
	alone     map[uint64]*entry // Published one by one, by token.
	batch     *batch            // On its way, nil for none.
	late      *batch            // The last that was not confirmed in time, nil for none.
	unsure    []*entry          // On their way when the connection broke.
	gathering bool              // The next batch is put off for those who come back.
	target    int               // How many it is put off for at the most.
	around    int               // How many were concurrent when the last batch was confirmed, 0 after one that went alone.
	heldSince time.Time         // Those who wait are held back since then for those on their way alone; zero for not.
	tokens    uint64            // The last one given.
	ungrouped time.Time         // No batches before then: the broker takes none.
	pace      ackRate
	worth     batchThreshold
	patience  deadlineQueue // Until their callers are told.
	repeats   deadlineQueue // Until those alone are sent once more.
}

// NewPublisher returns a publisher on nc, which must have been made with
// nats.ReconnectBufSize(-1): a buffered message would be confirmed by nobody.
// It works for as long as nc is open and needs no end of its own.
func NewPublisher(nc *nats.Conn, o PublisherOptions) (*Committer, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	orDefault(&o.Timeout, 800*time.Millisecond)
	orDefault(&o.ReconnectGrace, 25*time.Millisecond)
	orDefault(&o.Queue, DefaultQueue)
	orDefault(&o.QueueBytes, 32<<20)
	if o.Group == nil {
		o.Group = func() bool { return false }
	}
	if o.Up == nil {
		o.Up = nc.IsConnected
	}
	p := &Committer{
		nc: nc, js: js, options: o, inbox: nc.NewInbox() + ".", alone: map[uint64]*entry{},
	}
	p.patience, p.repeats = newDeadlineQueue(p.expireOverdue), newDeadlineQueue(p.retransmitOverdue)
	if p.metrics, err = newPublisherMetrics(o.Registerer, p.backlog, p.threshold); err != nil {
		return nil, err
	}
	if _, err := nc.Subscribe(p.inbox+"*", p.confirmed); err != nil {
		return nil, fmt.Errorf("subscribe to confirmations: %w", err)
	}
	go p.watch(nc.StatusChanged(nats.CONNECTED, nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED))
	return p, nil
}

// Store publishes m, alone or with others, and waits for the stream's
// confirmation, for the publisher's budget at most.
func (p *Committer) Store(ctx context.Context, m Message) error {
	err := p.store(ctx, m)
	p.fullness.note(err)
	if err != nil {
		return fmt.Errorf("store notification: %w", err)
	}
	return nil
}

func (p *Committer) store(ctx context.Context, m Message) error {
	if !p.options.Up() {
		return ErrDisconnected
	}
	e := &entry{message: m, result: make(chan error, 1)}
	now := time.Now()
	p.mu.Lock()
	if err := p.enqueue(e, now); err != nil {
		p.mu.Unlock()
		return err
	}
	s := p.next(now)
	p.mu.Unlock()
	if !s.empty() {
		go p.send(s) // To a broker that does not read it may take longer than the caller has.
	}
	select {
	case err := <-e.result:
		if !e.told.IsZero() {
			p.crowding.observe(time.Since(e.told))
		}
		return err
	case <-ctx.Done():
		return p.cancel(e)
	}
}

// enqueue lets an entry in, or refuses it where it would wait for too long. One
// that finds nobody before it is always let in, so that a broker that was slow
// once gets the chance to show that it no longer is. p.mu is held.
func (p *Committer) enqueue(e *entry, now time.Time) error {
	size := len(e.message.Body)
	switch {
	case p.closed:
		return ErrDisconnected
	case p.held == 0:
		p.pace.begin(now)
	case p.held >= p.capacity(now), p.bytes+size > p.options.QueueBytes,
		p.pace.wait(p.held, now) > queueTime(p.options.Timeout, p.crowding.roundTrip()) && p.lagging(now):
		p.refusing.Store(now.Add(shedFor).UnixNano())
		return ErrOverloaded
	}
	p.held, p.bytes = p.held+1, p.bytes+size
	p.waiting = append(p.waiting, e)
	e.until = now.Add(p.options.Timeout)
	p.patience.add(e, e.until)
	return nil
}

// shedFor is how long after one was refused the next need not try. The broker has
// enough to do meanwhile: what was let in.
const shedFor = 5 * time.Millisecond

// Overloaded reports whether a message has just been refused because too much
// waits. It is asked before the work that a refused one is not worth.
func (p *Committer) Overloaded() bool {
	until := p.refusing.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// capacity is how many messages may be held: half as many as else while nothing is
// known of the pace of a broker that lags. All of them would be late where it can
// do no more than half; p.mu is held.
func (p *Committer) capacity(now time.Time) int {
	if p.pace.rate == 0 && p.lagging(now) {
		return p.options.Queue / 2
	}
	return p.options.Queue
}

// lagging reports whether the broker takes longer than it does when all is well. As
// long as it does not, its pace is only that of what comes in, and says nothing
// of how much more it could take; p.mu is held.
func (p *Committer) lagging(now time.Time) bool {
	oldest, ok := p.patience.oldest()
	return ok && oldest.Sub(now) < p.options.Timeout*15/16
}

// complete gives an entry its result, once; p.mu is held.
func (p *Committer) complete(e *entry, result error) {
	if p.completesBatch(e) {
		p.notify(e, result)
	}
}

// notify wakes the caller of an entry that was closed.
func (p *Committer) notify(e *entry, result error) {
	if p.told.Add(1)%sampled == 0 {
		e.told = time.Now()
	}
	e.result <- result
}

// completesBatch takes an entry off the books, and reports false for one that is off
// already; p.mu is held.
func (p *Committer) completesBatch(e *entry) bool {
	if e.settled {
		return false
	}
	e.settled = true
	p.held, p.bytes = p.held-1, p.bytes-len(e.message.Body)
	return true
}

// cancel ends the wait of a caller who goes. Its message may be stored all
// the same, or may have been in this very moment.
func (p *Committer) cancel(e *entry) error {
	p.mu.Lock()
	p.timeOut(e)
	s := p.next(time.Now()) // Somebody may have waited for its place.
	p.mu.Unlock()
	if !s.empty() {
		go p.send(s)
	}
	return <-e.result
}

// timeOut settles an entry whose confirmation did not come in time; p.mu is held.
func (p *Committer) timeOut(e *entry) {
	p.complete(e, ErrTimeout)
	p.remove(e.token)
}

// remove takes a message off those on their way alone that was not confirmed;
// p.mu is held.
func (p *Committer) remove(token uint64) {
	delete(p.alone, token)
	if len(p.alone) == 0 {
		p.worth.rests()
	}
}

// pump sends what may go out now.
func (p *Committer) pump() {
	p.mu.Lock()
	s := p.next(time.Now())
	p.mu.Unlock()
	p.send(s)
}

// send sends what next decided on.
func (p *Committer) send(s sending) {
	if s.batch != nil {
		p.sendBatch(s.batch)
	}
	for _, f := range s.alone {
		p.sendSingle(f)
	}
}

// backlog is how many notifications wait or are on their way.
func (p *Committer) backlog() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(p.held)
}
