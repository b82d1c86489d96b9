package commit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/commit/committest"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// bench is a Committer whose connection passes a wire, with its broker and counts.
type bench struct {
	*commit.Committer
	t       *testing.T
	broker  *testbench.Broker
	wire    *committest.Wire
	nc      *nats.Conn
	batches atomic.Int64 // Sent.
	fell    atomic.Int64 // Messages of batches that fell apart.
}

// start starts a Committer that batches, on a broker of its own.
func start(t *testing.T, change func(*commit.Options)) *bench {
	t.Helper()
	return startOn(t, testbench.Start(t), change)
}

func startOn(t *testing.T, broker *testbench.Broker, change func(*commit.Options)) *bench {
	t.Helper()
	c := &bench{t: t, broker: broker, wire: committest.NewWire(t, broker.URL)}
	var err error
	c.nc, err = nats.Connect(c.wire.URL, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.nc.Close)
	o := commit.Options{
		Stream: subject.Notifications, Timeout: 20 * time.Second, GroupCommit: func() bool { return true }, Threshold: threshold,
		Batched: func(int) { c.batches.Add(1) }, FellApart: func(messages int) { c.fell.Add(int64(messages)) },
	}
	if change != nil {
		change(&o)
	}
	if c.Committer, err = commit.New(c.nc, o); err != nil {
		t.Fatal(err)
	}
	return c
}

// atEachThreshold runs a test with the usual threshold and with the lowest.
func atEachThreshold(t *testing.T, test func(t *testing.T, start func(change func(*commit.Options)) *bench)) {
	t.Helper()
	for name, n := range map[string]int{"usual": threshold, "lowest": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(change func(*commit.Options)) *bench {
				return start(t, func(o *commit.Options) {
					if o.Threshold = n; change != nil {
						change(o)
					}
				})
			})
		})
	}
}

// threshold is the batch threshold of most tests.
const threshold = 16

// store is Store without the receipt.
func (c *bench) store(ctx context.Context, m commit.Message) error {
	_, err := c.Store(ctx, m)
	return err
}

// message returns the nth small message, with an id of its own.
func message(n int) commit.Message {
	return commit.Message{
		ID: fmt.Sprintf("id-%d", n), Subject: fmt.Sprintf("notifications.sandbox.default.p%d", n),
		Body: []byte(`{}`),
	}
}

// storeAll stores the messages concurrently; wait returns the result of each.
func (c *bench) storeAll(ctx context.Context, messages ...commit.Message) (wait func() []error) {
	results := make([]error, len(messages))
	var all sync.WaitGroup
	for i, m := range messages {
		all.Go(func() { results[i] = c.store(ctx, m) })
	}
	return func() []error {
		all.Wait()
		return results
	}
}

// storeBatched stores the messages concurrently and holds the acks back until all are
// pending, so that most are in a batch.
func (c *bench) storeBatched(messages ...commit.Message) []error {
	c.t.Helper()
	release := c.wire.Hold(c.t)
	wait := c.storeAll(c.t.Context(), messages...)
	c.awaitPending(len(messages))
	release()
	return wait()
}

// messages returns n small messages.
func messages(n int) []commit.Message {
	all := make([]commit.Message, n)
	for i := range all {
		all[i] = message(i)
	}
	return all
}

// stored counts the messages of the stream by their id.
func (c *bench) stored() map[string]int {
	c.t.Helper()
	ctx := testbench.Context(c.t)
	stream, err := c.broker.JS.Stream(ctx, subject.Notifications)
	if err != nil {
		c.t.Fatal(err)
	}
	counts := map[string]int{}
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if err != nil {
			c.t.Fatal(err)
		}
		counts[m.Header.Get(jetstream.MsgIDHeader)]++
	}
	return counts
}

// awaitPending waits until n messages are pending.
func (c *bench) awaitPending(n int) {
	c.t.Helper()
	until(c.t, func() bool { return c.Pending() == n })
}

func allNil(t *testing.T, results []error) {
	t.Helper()
	for i, err := range results {
		if err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
}

// storedOnce checks that the stream has each message once, and no other.
func (c *bench) storedOnce(messages ...commit.Message) {
	c.t.Helper()
	stored := c.stored()
	for _, m := range messages {
		if stored[m.ID] != 1 {
			c.t.Errorf("%s is stored %d times", m.ID, stored[m.ID])
		}
		delete(stored, m.ID)
	}
	if len(stored) > 0 {
		c.t.Errorf("other messages are stored: %v", stored)
	}
}

func TestQueueIsOneBatch(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	all := messages(300)
	allNil(t, c.storeBatched(all...))
	c.storedOnce(all...)
	// The first messages are singles. The messages queued before the wire held the
	// acks are a batch, and the rest is another.
	if got := c.batches.Load(); got < 1 || got > 3 {
		t.Errorf("%v batches", got)
	}
	if got := c.fell.Load(); got != 0 {
		t.Errorf("%v messages were retried singly", got)
	}
}

func TestFewMessagesArePublishedSingly(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	all := messages(400)
	for i := 0; i < len(all); i += 8 {
		allNil(t, c.storeAll(t.Context(), all[i:i+8]...)())
	}
	c.storedOnce(all...)
	if got := c.batches.Load(); got != 0 {
		t.Errorf("%v batches of eight concurrent callers", got)
	}
}

func TestNothingIsBatchedByDefault(t *testing.T) {
	t.Parallel()
	c := start(t, func(o *commit.Options) { o.GroupCommit = nil })
	all := messages(300)
	allNil(t, c.storeAll(t.Context(), all...)())
	c.storedOnce(all...)
	if got := c.batches.Load(); got != 0 {
		t.Errorf("%v batches", got)
	}
}

// changeStream updates the configuration of NOTIFICATIONS.
func (c *bench) changeStream(change func(*jetstream.StreamConfig)) {
	c.t.Helper()
	ctx := testbench.Context(c.t)
	stream, err := c.broker.JS.Stream(ctx, subject.Notifications)
	if err != nil {
		c.t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	change(&config)
	if _, err := c.broker.JS.UpdateStream(ctx, config); err != nil {
		c.t.Fatal(err)
	}
}

func TestRefusedMessageDoesNotFailItsBatch(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	c.changeStream(func(s *jetstream.StreamConfig) { s.MaxMsgSize = 1000 })
	all := messages(200)
	all[150].Body = []byte(strings.Repeat("x", 2000))
	results := c.storeBatched(all...)
	if !errors.Is(results[150], commit.ErrTooLarge) {
		t.Errorf("the large one: %v", results[150])
	}
	results[150] = nil
	allNil(t, results)
	c.storedOnce(append(append([]commit.Message{}, all[:150]...), all[151:]...)...)
	if c.batches.Load() == 0 {
		t.Error("there was no batch, so this shows nothing")
	}
}

func TestSameIDTwiceIsStoredOnceAndAckedTwice(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	all := messages(200)
	allNil(t, c.storeBatched(append(all, all[7], all[100])...))
	c.storedOnce(all...)
	if c.batches.Load() == 0 {
		t.Error("there was no batch, so this shows nothing")
	}
}

// A batch of one costs the broker a staging file, and its refusal a second message.
func TestRepeatedIDsAreNotBatchedOneByOne(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	all := make([]commit.Message, 200)
	for i := range all {
		all[i] = message(7)
	}
	allNil(t, c.storeBatched(all...))
	c.storedOnce(message(7))
	if got := c.batches.Load(); got > 0 {
		t.Errorf("%v batches of one message", got)
	}
}

func TestBatchLargerThanTheRoomIsStoredInPart(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	const room = 60
	c.changeStream(func(s *jetstream.StreamConfig) { s.MaxMsgs = room })
	all := messages(200)
	confirmed := 0
	stored := map[string]bool{}
	for i, err := range c.storeBatched(all...) {
		switch {
		case err == nil:
			confirmed++
			stored[all[i].ID] = true
		case !errors.Is(err, commit.ErrFull):
			t.Errorf("message %d: %v", i, err)
		}
	}
	for id := range c.stored() {
		if !stored[id] {
			t.Errorf("%s is stored and was refused", id)
		}
	}
	if confirmed != room {
		t.Errorf("%d are confirmed where there was room for %d", confirmed, room)
	}
}

func TestStreamWithoutBatchesGetsSingles(t *testing.T) {
	t.Parallel()
	broker := testbench.StartEmpty(t)
	if _, err := broker.JS.CreateStream(testbench.Context(t), jetstream.StreamConfig{
		Name: subject.Notifications, Subjects: []string{"notifications.*.*.*"},
	}); err != nil {
		t.Fatal(err)
	}
	c := startOn(t, broker, nil)
	all := messages(300)
	for range 2 { // The second time batches are off, and every id is a duplicate.
		allNil(t, c.storeAll(t.Context(), all...)())
	}
	c.storedOnce(all...)
	if got := c.batches.Load(); got < 1 || got > 2 {
		t.Errorf("%v batches were tried", got)
	}
}

// until waits for a condition.
func until(t testing.TB, met func() bool) { t.Helper(); testbench.Until(t, "the condition", met) }

// TestFewCallersAreBatchedWhereItPays has six callers, fewer than the threshold of an
// unknown broker, on a real one: what it costs decides, within the bounds.
func TestFewCallersAreBatchedWhereItPays(t *testing.T) {
	t.Parallel()
	c := start(t, func(o *commit.Options) { o.Threshold = 0 })
	var next atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := c.store(context.Background(), message(int(next.Add(1)))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	until(t, func() bool { return c.batches.Load() >= 5 }) // Those that measure what a batch costs.
	stop()
	all.Wait()
	sent := make([]commit.Message, next.Load())
	for i := range sent {
		sent[i] = message(i + 1)
	}
	c.storedOnce(sent...)
}
