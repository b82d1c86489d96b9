package commit

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/testbench"
)

// bare is a Committer without a connection, whose decisions a test asks for.
func bare(change func(*Options)) *Committer {
	o := Options{
		Timeout: time.Second, QueueLimit: 80, QueueBytes: 1000, Threshold: minBatchSize,
		GroupCommit: func() bool { return true },
	}
	if change != nil {
		change(&o)
	}
	c := &Committer{inbox: "_INBOX.0123456789.", options: o.withDefaults(), alone: map[uint64]*request{}, connected: true}
	c.ticker = time.AfterFunc(time.Hour, func() {})
	c.ticker.Stop()
	return c
}

// put queues a message of that many bytes.
func (c *Committer) put(id string, bytes int, at time.Time) (*entry, error) {
	e := &entry{message: Message{ID: id, Subject: id, Body: make([]byte, bytes)}, at: at, state: queued, result: make(chan struct{})}
	return e, c.admit(e)
}

// outgoing is what the Committer sends next: a batch, nil for none, and messages alone.
type outgoing struct {
	batch *request
	alone []*entry
}

func (o outgoing) empty() bool { return o.batch == nil && len(o.alone) == 0 }

func (c *Committer) decide(now time.Time) (o outgoing) {
	for _, r := range c.next(now) {
		if r.batch {
			o.batch = r
		} else {
			o.alone = append(o.alone, r.entries...)
		}
	}
	return o
}

func TestMessageIsShedByRoomAndAge(t *testing.T) {
	t.Parallel()
	const lag = time.Second/lagging + time.Millisecond
	for name, c := range map[string]struct {
		waiting, bytes int           // Of those that are pending.
		age            time.Duration // Of the oldest.
		stored         int           // Within the last window.
		size           int
		shed           bool
	}{
		"nothing is pending":                      {0, 0, 0, 0, 5000, false},
		"there is room":                           {79, 1, 0, 0, 1, false},
		"the queue is full":                       {80, 1, 0, 0, 1, true},
		"the bytes fit":                           {1, 900, 0, 0, 100, false},
		"the bytes do not fit":                    {1, 900, 0, 0, 101, true},
		"the oldest is half of the timeout old":   {1, 1, time.Second / 2, 0, 1, false},
		"the oldest is older":                     {1, 1, time.Second/2 + 1, 0, 1, true},
		"the broker lags and there is a little":   {9, 1, lag, 0, 1, false},
		"the broker lags and there is too much":   {10, 1, lag, 0, 1, true},
		"the broker lags and stored as much":      {10, 1, lag, 11, 1, false},
		"the broker does not lag and has as much": {10, 1, lag - 2*time.Millisecond, 0, 1, false},
	} {
		committer, now := bare(nil), time.Unix(1000, 0)
		for i := range c.waiting {
			if _, err := committer.put(fmt.Sprint(i), c.bytes, now); err != nil {
				t.Fatal(err)
			}
		}
		committer.rate.add(c.stored, now, time.Second/2)
		if _, err := committer.put("next", c.size, now.Add(c.age)); errors.Is(err, ErrOverloaded) != c.shed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRateIsThatOfTheBetterWindow(t *testing.T) {
	t.Parallel()
	var r rate
	o, now := Options{QueueLimit: 8}, time.Unix(1000, 0)
	r.add(50, now, time.Second)
	r.add(5, now.Add(time.Second), time.Second)
	if got := r.room(o); got != 50 {
		t.Errorf("room for %d after a stall of one window", got)
	}
	r.add(5, now.Add(3*time.Second), time.Second)
	if got := r.room(o); got != 5 {
		t.Errorf("room for %d, long after it was fast", got)
	}
}

func TestResultFreesItsRoom(t *testing.T) {
	t.Parallel()
	c, now := bare(nil), time.Now()
	e, _ := c.put("a", 900, now)
	if _, err := c.put("b", 900, now); err == nil {
		t.Fatal("more than the room is admitted")
	}
	c.decide(now)
	c.apply(e, stored, Receipt{}, nil)
	c.decide(now)
	if c.pending != 0 || c.pendingBytes != 0 || len(c.alone) != 0 {
		t.Errorf("%d messages, %d bytes, %d tokens are left", c.pending, c.pendingBytes, len(c.alone))
	}
}

func TestBatchIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := bare(func(o *Options) { o.QueueLimit, o.QueueBytes = 5000, 64<<20 })
	for i := range 2 * maxBatchSize {
		_, _ = c.put(fmt.Sprint(i), 1, now)
	}
	if c.takeBatch(now); len(c.batch.entries) != maxBatchSize || len(c.queue) != maxBatchSize {
		t.Errorf("%d messages in a batch, %d are left", len(c.batch.entries), len(c.queue))
	}
	c = bare(func(o *Options) { o.QueueLimit, o.QueueBytes = 5000, 64<<20 })
	for i := range 10 {
		_, _ = c.put(fmt.Sprint(i), maxBatchBytes/4, now)
	}
	if c.takeBatch(now); len(c.batch.entries) != 4 || len(c.queue) != 6 {
		t.Errorf("%d quarters of the bytes in a batch, %d are left", len(c.batch.entries), len(c.queue))
	}
	c = bare(func(o *Options) { o.QueueLimit, o.QueueBytes = 5000, 64<<20 })
	for i := range 5 {
		_, _ = c.put(fmt.Sprint(i), maxBatchBytes, now)
	}
	if rest := c.takeBatch(now); c.batch != nil || len(rest) != 5 || len(c.queue) != 0 {
		t.Errorf("messages that are too large to share a batch: %v, %d alone, %d are left", c.batch, len(rest), len(c.queue))
	}
}

func TestMessageThatIsDoneIsNotSent(t *testing.T) {
	t.Parallel()
	c, now := bare(nil), time.Now()
	var all []*entry
	for i := range 8 {
		e, _ := c.put(fmt.Sprint(i), 1, now)
		all = append(all, e)
	}
	for _, i := range []int{0, 3, 7} {
		c.apply(all[i], expired, Receipt{}, ErrTimeout)
	}
	if o := c.decide(now); o.batch == nil || len(o.batch.entries) != 5 || len(o.alone) != 0 {
		t.Errorf("of eight messages, three done: %+v", o)
	}
}

// A message without an answer is sent once more after half of the timeout, and no more.
func TestOverdueMessageIsSentTwice(t *testing.T) {
	t.Parallel()
	c, began := bare(nil), time.Unix(1000, 0)
	e, _ := c.put("a", 1, began)
	sent := len(c.decide(began).alone)
	for _, age := range []time.Duration{time.Second/2 - 1, time.Second / 2, time.Second - 1} {
		c.resend(began.Add(age))
		sent += len(c.decide(began.Add(age)).alone)
		if want := map[bool]int{false: 1, true: 2}[age >= time.Second/2]; sent != want || e.sends != want {
			t.Errorf("after %v it was sent %d times", age, sent)
		}
	}
}

// A batch that is being sent while its messages are in doubt already is no longer the one
// that an error is about.
func TestErrorOfAnOldBatchLeavesTheNewOne(t *testing.T) {
	t.Parallel()
	c, now := bare(nil), time.Now()
	for i := range 3 {
		_, _ = c.put(fmt.Sprint(i), 1, now)
	}
	old := c.decide(now).batch
	c.doubt(old, batchSilent)
	c.decide(now)
	c.alone = map[uint64]*request{}
	for i := range 3 {
		_, _ = c.put(fmt.Sprint("n", i), 1, now)
	}
	current := c.decide(now).batch
	c.unsent(old, nats.ErrConnectionReconnecting, now)
	if current == nil || c.batch != current || old.entries[0].state != inDoubt {
		t.Errorf("the batch is %v, want %v", c.batch, current)
	}
}

func TestCostsAreMeasuredOnEachConnection(t *testing.T) {
	t.Parallel()
	b := testbench.StartEmpty(t)
	nc, err := nats.Connect(b.URL, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond))
	testbench.Must(t, err)
	t.Cleanup(nc.Close)
	c, err := New(nc, Options{Stream: "S"})
	testbench.Must(t, err)
	c.mu.Lock()
	c.costs.alone.samples = costSamples
	c.mu.Unlock()
	testbench.Must(t, nc.ForceReconnect())
	testbench.Until(t, "the costs are unknown", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.costs.alone.samples == 0
	})
}

func TestBatchHasNoIDTwiceAndNoGuard(t *testing.T) {
	t.Parallel()
	c, now := bare(nil), time.Now()
	for i, m := range []Message{
		{ID: "a", Subject: "s.1"}, {ID: "a", Subject: "s.2"}, {ID: "b", Subject: "s.3", Guard: &Guard{Filter: "s.*"}},
		{Subject: "s.4", Guard: &Guard{}}, {ID: "c", Subject: "s.5"}, {ID: "d", Subject: "s.5"},
	} {
		m.Body = []byte{byte(i)}
		if err := c.admit(&entry{message: m, at: now, state: queued, result: make(chan struct{})}); err != nil {
			t.Fatal(err)
		}
	}
	o := c.decide(now)
	var together, alone []byte
	for _, e := range o.batch.entries {
		together = append(together, e.message.Body[0])
	}
	for _, e := range o.alone {
		alone = append(alone, e.message.Body[0])
	}
	if string(together) != "\x00\x04\x05" || string(alone) != "\x01\x02\x03" || len(c.queue) > 0 {
		t.Errorf("together %v, alone %v", together, alone)
	}
}

func TestQueueIsSentOnceTheCanceledMessageNoLongerHoldsItUp(t *testing.T) {
	t.Parallel()
	c, now := bare(func(o *Options) { o.Threshold = 1 }), time.Now()
	first, _ := c.put("a", 1, now)
	if o := c.decide(now); len(o.alone) != 1 {
		t.Fatalf("%+v", o)
	}
	for i := range 3 {
		_, _ = c.put(fmt.Sprint(i), 1, now)
	}
	if o := c.decide(now); !o.empty() {
		t.Errorf("the queue does not wait for a message without an answer: %+v", o)
	}
	if o := c.decide(now.Add(time.Second / lagging)); o.batch == nil {
		t.Error("the queue waits for ever")
	}
	c.doubt(c.batch, batchSilent)
	c.apply(first, expired, Receipt{}, ErrTimeout)
	if _, there := c.alone[first.alone.token]; there {
		t.Error("the answer of a canceled message is awaited")
	}
}

func TestManyAreSentAlthoughOneHasNoAnswer(t *testing.T) {
	t.Parallel()
	c, now := bare(func(o *Options) { o.Threshold = 1 }), time.Now()
	_, _ = c.put("a", 1, now)
	c.decide(now)
	for i := range flushAt - 1 {
		_, _ = c.put(fmt.Sprint(i), 1, now)
	}
	if o := c.decide(now); !o.empty() {
		t.Errorf("%+v", o)
	}
	_, _ = c.put("b", 1, now)
	if o := c.decide(now); o.batch == nil {
		t.Error("the queue waits")
	}
}

// Clients that wait for their answers send again at once.
func TestBatchesAreExpectedToStayAsLarge(t *testing.T) {
	t.Parallel()
	c, now := bare(func(o *Options) { o.Stream, o.Threshold = "S", 8 }), time.Now()
	put := func(n int) {
		for i := range n {
			_, _ = c.put(fmt.Sprint(i), 1, now)
		}
	}
	c.mu.Lock() // The timer that ends lingering waits.
	put(8)
	b := c.decide(now).batch
	c.batch = nil
	c.linger(b, now)
	put(5)
	o, expected := c.decide(now), c.expected
	c.mu.Unlock()
	if !o.empty() || expected != 8 {
		t.Errorf("the queue does not linger for as many: %+v, for %d", o, expected)
	}
	testbench.Until(t, "lingering ends", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.lingering
	})
}
