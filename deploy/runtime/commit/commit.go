// Package commit stores messages on a stream by group commit: what is queued while one
// batch has no answer is the next batch. Where the broker syncs every write to disk, it
// syncs a batch once. A Store that returns nil has a durable message.
package commit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/stream"
)

// Options configure a Committer. The zero value of each field but Stream means its default.
type Options struct {
	Stream string // Name of the stream that all messages are for.

	// Timeout is how long Store may take, 800 ms by default. A message without an answer
	// is sent again after half of it, and messages are shed once the oldest is that old.
	Timeout time.Duration

	// GroupCommit reports whether concurrent messages are stored as atomic batches. It is
	// called for each message and must not block. Never by default.
	GroupCommit func() bool

	// Threshold is how many messages without an answer are worth a batch, measured on each
	// connection by default.
	Threshold int

	// Up reports whether the broker is connected. nc.IsConnected by default, which takes
	// the client's lock: nats.go 1.55.0 (nats.go, processConnectInit) holds that lock for
	// seconds while it connects to a host that does not answer. Before this field may go,
	// check that IsConnected does not wait for that.
	Up func() bool

	QueueLimit int // Messages without a result at a time, 4096 by default; more are shed with ErrOverloaded.
	QueueBytes int // Bytes of their bodies, 32 MiB by default.

	// ReconnectGrace is how long messages whose connection broke wait for the next one, to
	// be sent again. 25 ms by default: the client's first attempt follows at once, so a
	// longer wait means an outage.
	ReconnectGrace time.Duration

	// Batched is called with the size of each batch that is sent, FellApart with that of each
	// whose messages are then sent alone. Nil for nothing.
	Batched, FellApart func(messages int)
}

// DefaultTimeout is how long Store may take by default.
const DefaultTimeout = 800 * time.Millisecond

// DefaultQueueLimit is how many messages may be without a result by default. A guess: more than
// the connections that a gateway serves by default.
const DefaultQueueLimit = 4096

func (o Options) withDefaults(nc *nats.Conn) Options {
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.ReconnectGrace = cmp.Or(o.ReconnectGrace, 25*time.Millisecond)
	o.QueueLimit = cmp.Or(o.QueueLimit, DefaultQueueLimit)
	o.QueueBytes = cmp.Or(o.QueueBytes, 32<<20)
	if o.GroupCommit == nil {
		o.GroupCommit = func() bool { return false }
	}
	if o.Up == nil {
		o.Up = nc.IsConnected
	}
	if o.Batched == nil {
		o.Batched = func(int) {}
	}
	if o.FellApart == nil {
		o.FellApart = func(int) {}
	}
	return o
}

// Committer stores messages on one stream. It is safe for concurrent use.
type Committer struct {
	nc        *nats.Conn
	options   Options
	inbox     string       // Prefix of the reply subjects, with a dot at its end; a token follows.
	shedUntil atomic.Int64 // See shedFor; Unix time in nanoseconds, 0 if nothing was shed.

	mu           sync.Mutex
	closed       bool
	connected    bool
	brokeAt      time.Time // When the connection broke.
	admitted     []*entry  // Without a result, the oldest first; those that are done leave it later.
	pending      int       // Entries without a result.
	pendingBytes int
	queue        []*entry          // Not yet sent.
	alone        map[uint64]*entry // Sent alone and without an answer, by token.
	batch        *batch            // Sent and without an answer, nil for none.
	late         *batch            // The last batch in doubt, whose answer may still come; nil for none.
	resends      []*entry          // To be sent again alone, now.
	finished     []*entry          // Their callers are notified after the unlock.
	expected     int               // Messages that were pending when the last batch was acked, 0 after messages that were sent alone.
	lingerUntil  int               // Queue length that ends lingering, 0 for no lingering.
	noBatches    time.Time         // Until then nothing is batched: see batchesOffFor.
	rate         rate
	costs        costs
	ticker       *time.Timer
	lastToken    uint64
}

// entry is one message between Store and its result. The Committer's lock protects it;
// receipt and err are read after the result.
type entry struct {
	message Message
	at      time.Time // When it was admitted.
	state   state
	token   uint64 // Its reply subject, 0 if it was never sent alone.
	wait    bool   // To be sent again at the next tick.
	sends   int    // How often it was sent alone.
	result  chan struct{}
	receipt Receipt
	err     error
}

// New returns a Committer on nc, which must be made with nats.ReconnectBufSize(-1): a
// message in the client's buffer would get an answer that nothing waits for. A Committer
// ends with its connection and needs no Close.
func New(nc *nats.Conn, o Options) (*Committer, error) {
	c := &Committer{nc: nc, options: o.withDefaults(nc), inbox: nc.NewInbox() + ".", alone: map[uint64]*entry{}, connected: true}
	c.ticker = time.AfterFunc(time.Hour, c.tick)
	c.ticker.Stop()
	if _, err := nc.Subscribe(c.inbox+"*", c.answered); err != nil {
		return nil, fmt.Errorf("subscribe to confirmations: %w", err)
	}
	go c.watch(nc.StatusChanged(nats.CONNECTED, nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED))
	return c, nil
}

// errUnproven means that the stream has the id of a message in doubt, or something that its
// guard refuses. Both may be the message itself, not durable.
var errUnproven = fmt.Errorf("%w: what is stored may not be durable", ErrTimeout)

// errNeither refuses a message that could be stored twice.
var errNeither = errors.New("message has neither an id nor a guard")

// Store stores m and waits for the result, for the timeout at most. Errors wrap an Err
// value of this package where the cause is known, or stream.ErrConflict if the guard
// refused m. After a conflict the caller reads what is stored: it may be m itself, if the
// answer to an earlier attempt was lost.
func (c *Committer) Store(ctx context.Context, m Message) (Receipt, error) {
	if m.ID == "" && m.Guard == nil {
		return Receipt{}, errNeither
	}
	if !c.options.Up() {
		return Receipt{}, ErrDisconnected
	}
	now := time.Now()
	e := &entry{message: m, at: now, state: queued, result: make(chan struct{})}
	c.mu.Lock()
	if err := c.admit(e); err != nil {
		c.mu.Unlock()
		return Receipt{}, err
	}
	if o := c.unlock(now); !o.empty() {
		go c.send(o) // A broker that does not read may hold this up for longer than the timeout.
	}
	select {
	case <-e.result:
	case <-ctx.Done():
		c.mu.Lock()
		c.apply(e, expired, Receipt{}, ErrTimeout)
		go c.send(c.unlock(time.Now())) // The queue may have waited for this entry's answer.
		<-e.result
	}
	return e.receipt, e.err
}

// admit takes an entry in or sheds it. It is always taken in when there is no other, so
// that a broker that was slow can show that it no longer is. c.mu is held.
func (c *Committer) admit(e *entry) error {
	size := len(e.message.Body)
	age := c.oldest(e.at)
	switch {
	case c.closed || !c.connected:
		return ErrDisconnected
	case c.pending == 0:
	case c.pending >= c.options.QueueLimit, c.pendingBytes+size > c.options.QueueBytes,
		age > c.options.Timeout/2,
		age > c.options.Timeout/lagging && c.pending >= c.rate.room(c.options):
		c.shedUntil.Store(e.at.Add(shedFor).UnixNano())
		return ErrOverloaded
	}
	c.pending, c.pendingBytes = c.pending+1, c.pendingBytes+size
	c.admitted, c.queue = append(c.admitted, e), append(c.queue, e)
	if c.pending == 1 {
		c.ticker.Reset(c.interval())
	}
	return nil
}

// lagging is the part of the timeout, a sixteenth, after which the oldest message shows
// that the broker lags. One that does not answers as fast as messages come, so what it
// stored lately is no limit. A guess.
const lagging = 16

// oldest is the age of the oldest message without a result, 0 for none. c.mu is held.
func (c *Committer) oldest(now time.Time) time.Duration {
	for len(c.admitted) > 0 && c.admitted[0].state == done {
		c.admitted = c.admitted[1:]
	}
	if len(c.admitted) == 0 {
		return 0
	}
	return now.Sub(c.admitted[0].at)
}

// rate counts stored messages in windows of half of the timeout.
type rate struct {
	since         time.Time
	now, previous int
}

func (r *rate) add(messages int, now time.Time, window time.Duration) {
	if age := now.Sub(r.since); age >= 2*window {
		*r = rate{since: now}
	} else if age >= window {
		*r = rate{since: now, previous: r.now}
	}
	r.now += messages
}

// room is how many messages the broker can be expected to store within half of the
// timeout: as many as in the better of the last two windows, because one may have been a
// stall. An eighth of the queue is always taken in, a guess.
func (r *rate) room(o Options) int { return max(r.now, r.previous, o.QueueLimit/8) }

// shedFor is how long Overloaded reports true after a message was shed, so that the next
// requests are answered without the cost of reading them. A guess.
const shedFor = 5 * time.Millisecond

// Overloaded reports whether a message was shed within the last 5 ms. Callers ask before
// they work on a request that would be shed too.
func (c *Committer) Overloaded() bool {
	until := c.shedUntil.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// Pending is how many messages are without a result.
func (c *Committer) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending
}

// apply makes the transition of an event. c.mu is held.
func (c *Committer) apply(e *entry, on event, r Receipt, err error) {
	t := transitions[e.state][on]
	if t.to == 0 {
		return
	}
	if e.state == inDoubt && (on == known || errors.Is(err, stream.ErrConflict)) {
		r, err = Receipt{}, errUnproven // With a conflict, the caller would trust a copy that may not be durable.
	}
	e.state = t.to
	switch t.do {
	case nothing:
	case resend:
		c.resends = append(c.resends, e)
	case resendSoon: // It stays in alone: the ack of an earlier attempt still counts.
		e.wait = true
	case finish:
		delete(c.alone, e.token)
		c.pending, c.pendingBytes = c.pending-1, c.pendingBytes-len(e.message.Body)
		e.receipt, e.err = r, err
		c.finished = append(c.finished, e)
	}
}

// unlock decides what is sent next, unlocks, and notifies the callers whose messages have
// a result. The caller sends what it returns.
func (c *Committer) unlock(now time.Time) outgoing {
	o, finished := c.next(now), c.finished
	c.finished = nil
	if c.pending == 0 { // A timer that fires for nothing costs a lone message more than its ack.
		c.ticker.Stop()
	}
	c.mu.Unlock()
	for _, e := range finished {
		close(e.result)
	}
	return o
}
