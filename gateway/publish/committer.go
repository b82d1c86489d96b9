package publish

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Options configure a Committer. The zero value of each field means its default.
type Options struct {
	// Timeout is the publish timeout: how long Store may take. 800 ms by default. A
	// message that would be queued for more than half of it is shed, less under
	// scheduling latency.
	Timeout time.Duration

	// GroupCommit reports whether concurrent notifications are stored as atomic batches,
	// which pays where the broker syncs every write to disk: it syncs a batch once. It is
	// called for each message and must not block. Never by default.
	GroupCommit func() bool

	// Up reports whether the broker is connected. nc.IsConnected by default, which takes
	// the client's lock: nats.go 1.55.0 (nats.go, processConnectInit) holds that lock for
	// seconds while it connects to a host that does not answer.
	Up func() bool

	Queue      int // Messages that may be pending at once; DefaultQueue by default.
	QueueBytes int // Bytes of their bodies; 32 MiB by default.

	// ReconnectGrace is how long a message whose connection broke waits for the next
	// connection, to be sent again under its id. 25 ms by default: the client's first
	// attempt follows at once, so a longer wait means an outage.
	ReconnectGrace time.Duration

	Registerer prometheus.Registerer // Nil for no metrics.
}

// DefaultQueue is how many messages may be pending in a Committer. A guess: more than the
// connections that a gateway serves by default.
const DefaultQueue = 4096

// Committer stores notifications on the NOTIFICATIONS stream by group commit: messages that
// are queued while a batch has no ack are the next batch. Fewer than the batch threshold
// are published singly. It may be used by many goroutines; dequeue decides what is sent.
type Committer struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	options Options
	inbox   string // Prefix of the ack subjects, with a dot at its end; a token follows.
	metrics *metrics

	latency   schedLatency
	full      fullness
	notified  atomic.Uint64 // Callers that were notified.
	shedUntil atomic.Int64  // See shedFor; Unix time in nanoseconds, 0 if nothing was shed.

	mu               sync.Mutex
	closed           bool              // The connection is closed for good.
	queue            []*entry          // Not yet sent.
	pending          int               // Entries that are not completed.
	pendingBytes     int               // Bytes of their bodies.
	singles          map[uint64]*entry // Sent singly and without an ack, by token.
	batch            *batch            // Sent and without an ack, nil for none.
	lateBatch        *batch            // The last batch in doubt, whose ack may still come; nil for none.
	interrupted      []*entry          // Sent on a connection that broke.
	lingering        bool              // The next batch lingers.
	lingerUntil      int               // Queue length that ends lingering.
	pendingAtLastAck int               // Of a batch; 0 after singles were sent.
	holdingSince     time.Time         // Since when the queue waits for singles to be acked; zero if it does not.
	lastToken        uint64
	batchesOffUntil  time.Time // The broker refused batches as such; see batchesOffFor.
	acks             ackRate
	threshold        batchThreshold
	timeouts         deadlineQueue // Entries until the publish timeout.
	retransmits      deadlineQueue // Singles until they are sent a second time.
}

// New returns a Committer on nc, which must be made with nats.ReconnectBufSize(-1):
// a message in the client's buffer would get an ack that belongs to no pending message.
// A Committer ends with its connection and needs no Close.
func New(nc *nats.Conn, o Options) (*Committer, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	o = o.withDefaults(nc)
	c := &Committer{
		nc: nc, js: js, options: o, inbox: nc.NewInbox() + ".", singles: map[uint64]*entry{},
	}
	c.timeouts, c.retransmits = newDeadlineQueue(c.expireEntries), newDeadlineQueue(c.retransmitOverdue)
	if c.metrics, err = newMetrics(o.Registerer, c.backlog, c.batchThreshold); err != nil {
		return nil, err
	}
	if _, err := nc.Subscribe(c.inbox+"*", c.acked); err != nil {
		return nil, fmt.Errorf("subscribe to confirmations: %w", err)
	}
	go c.watch(nc.StatusChanged(nats.CONNECTED, nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED))
	return c, nil
}

func (o Options) withDefaults(nc *nats.Conn) Options {
	o.Timeout = cmp.Or(o.Timeout, 800*time.Millisecond)
	o.ReconnectGrace = cmp.Or(o.ReconnectGrace, 25*time.Millisecond)
	o.Queue = cmp.Or(o.Queue, DefaultQueue)
	o.QueueBytes = cmp.Or(o.QueueBytes, 32<<20)
	if o.GroupCommit == nil {
		o.GroupCommit = func() bool { return false }
	}
	if o.Up == nil {
		o.Up = nc.IsConnected
	}
	return o
}

// Store publishes m and waits for its ack, for the publish timeout at most. It returns
// nil only when the stream has stored m, or had stored its id before.
func (c *Committer) Store(ctx context.Context, m Message) error {
	err := c.store(ctx, m)
	c.full.observe(err)
	if err != nil {
		return fmt.Errorf("store notification: %w", err)
	}
	return nil
}

func (c *Committer) store(ctx context.Context, m Message) error {
	if !c.options.Up() {
		return ErrDisconnected
	}
	e := &entry{message: m, result: make(chan error, 1)}
	now := time.Now()
	c.mu.Lock()
	if err := c.enqueue(e, now); err != nil {
		c.mu.Unlock()
		return err
	}
	o := c.dequeue(now)
	c.mu.Unlock()
	if !o.empty() {
		go c.send(o) // Sending to a broker that does not read may take longer than the publish timeout.
	}
	select {
	case err := <-e.result:
		if !e.notifiedAt.IsZero() {
			c.latency.observe(time.Since(e.notifiedAt))
		}
		return err
	case <-ctx.Done():
		return c.cancel(e)
	}
}

// enqueue admits an entry or sheds it. An entry is always admitted when none is pending,
// so that a broker that was slow can show that it no longer is. c.mu is held.
func (c *Committer) enqueue(e *entry, now time.Time) error {
	size := len(e.message.Body)
	switch {
	case c.closed:
		return ErrDisconnected
	case c.pending == 0:
		c.acks.restart(now)
	case c.pending >= c.capacity(now), c.pendingBytes+size > c.options.QueueBytes,
		c.acks.wait(c.pending, now) > maxQueueTime(c.options.Timeout, c.latency.roundTrip()) && c.lagging(now):
		c.shedUntil.Store(now.Add(shedFor).UnixNano())
		return ErrOverloaded
	}
	c.pending, c.pendingBytes = c.pending+1, c.pendingBytes+size
	c.queue = append(c.queue, e)
	e.deadline = now.Add(c.options.Timeout)
	c.timeouts.add(e, e.deadline)
	return nil
}

// shedFor is how long Overloaded reports true after a message was shed, so that the next
// requests are answered without the cost of reading them. A guess.
const shedFor = 5 * time.Millisecond

// Overloaded reports whether a message was shed within the last 5 ms. Callers ask before
// they work on a request that would be shed too.
func (c *Committer) Overloaded() bool {
	until := c.shedUntil.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// capacity is how many messages may be pending: half of Queue while the broker lags and
// its ack rate is unknown, because it may be too slow for all of them. c.mu is held.
func (c *Committer) capacity(now time.Time) int {
	if c.acks.rate == 0 && c.lagging(now) {
		return c.options.Queue / 2
	}
	return c.options.Queue
}

// lagging reports whether the oldest pending message has used a sixteenth of its publish
// timeout (50 of 800 ms, a guess). A broker that does not lag acks as fast as messages
// come, so its ack rate is no limit. c.mu is held.
func (c *Committer) lagging(now time.Time) bool {
	deadline, ok := c.timeouts.first()
	return ok && deadline.Sub(now) < c.options.Timeout*15/16
}

// complete gives an entry its result, unless it has one; c.mu is held.
func (c *Committer) complete(e *entry, result error) {
	if c.markCompleted(e) {
		c.notify(e, result)
	}
}

// notify sends a completed entry's result to its caller.
func (c *Committer) notify(e *entry, result error) {
	if c.notified.Add(1)%latencySample == 0 {
		e.notifiedAt = time.Now()
	}
	e.result <- result
}

// markCompleted takes an entry off the pending ones, and reports false if it was
// completed before; c.mu is held.
func (c *Committer) markCompleted(e *entry) bool {
	if e.completed {
		return false
	}
	e.completed = true
	c.pending, c.pendingBytes = c.pending-1, c.pendingBytes-len(e.message.Body)
	return true
}

// cancel completes the entry of a caller whose context ended. Its message may be stored,
// and its ack may have come just before.
func (c *Committer) cancel(e *entry) error {
	c.mu.Lock()
	c.timeOut(e)
	o := c.dequeue(time.Now()) // The queue may have waited for this entry's ack.
	c.mu.Unlock()
	if !o.empty() {
		go c.send(o)
	}
	return <-e.result
}

// timeOut completes an entry that has no ack with ErrTimeout; c.mu is held.
func (c *Committer) timeOut(e *entry) {
	c.complete(e, ErrTimeout)
	c.removeSingle(e.token)
}

// removeSingle stops waiting for the ack of a single message; c.mu is held.
func (c *Committer) removeSingle(token uint64) {
	delete(c.singles, token)
	if len(c.singles) == 0 {
		c.threshold.stopBusy()
	}
}

// pump sends what may be sent now.
func (c *Committer) pump() {
	c.mu.Lock()
	o := c.dequeue(time.Now())
	c.mu.Unlock()
	c.send(o)
}

// send publishes what dequeue decided on. c.mu must not be held.
func (c *Committer) send(o outgoing) {
	if o.batch != nil {
		c.sendBatch(o.batch)
	}
	for _, s := range o.singles {
		c.sendSingle(s)
	}
}

// backlog is how many notifications are pending.
func (c *Committer) backlog() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return float64(c.pending)
}
