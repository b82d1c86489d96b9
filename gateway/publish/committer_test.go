package publish_test

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
	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/gatewaytest"
	"arauto/gateway/publish"
	"arauto/schemas/subject"
)

// bench is a Committer whose connection passes a wire, with its broker and metrics.
type bench struct {
	*publish.Committer
	t        *testing.T
	broker   *testbench.Broker
	wire     *gatewaytest.Wire
	nc       *nats.Conn
	registry *prometheus.Registry
}

// start starts a Committer that batches, on a broker of its own.
func start(t *testing.T, change func(*publish.Options)) *bench {
	t.Helper()
	return startOn(t, testbench.Start(t), change)
}

func startOn(t *testing.T, broker *testbench.Broker, change func(*publish.Options)) *bench {
	t.Helper()
	c := &bench{t: t, broker: broker, wire: gatewaytest.NewWire(t, broker.URL), registry: prometheus.NewRegistry()}
	c.nc, _ = testbench.Connect(t, c.wire.URL, nats.ReconnectWait(5*time.Millisecond))
	var err error
	o := publish.Options{Timeout: 20 * time.Second, GroupCommit: func() bool { return true }, Registerer: c.registry}
	if change != nil {
		change(&o)
	}
	if c.Committer, err = publish.New(c.nc, o); err != nil {
		t.Fatal(err)
	}
	c.SetBatchThreshold(threshold)
	return c
}

// atEachThreshold runs a test with the usual batch threshold, with the lowest, and with
// the learned one.
func atEachThreshold(t *testing.T, test func(t *testing.T, start func(change func(*publish.Options)) *bench)) {
	t.Helper()
	for name, n := range map[string]int{"usual": threshold, "lowest": 3, "learned": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(change func(*publish.Options)) *bench {
				c := start(t, change)
				c.SetBatchThreshold(n)
				return c
			})
		})
	}
}

// threshold is the batch threshold of most tests.
const threshold = 24

// message returns the nth small message, with an id of its own.
func message(n int) publish.Message {
	return publish.Message{
		ID: fmt.Sprintf("id-%d", n), Subject: fmt.Sprintf("notifications.sandbox.default.p%d", n),
		Body: []byte(`{}`),
	}
}

// storeAll stores the messages concurrently; wait returns the result of each.
func (c *bench) storeAll(ctx context.Context, messages ...publish.Message) (wait func() []error) {
	results := make([]error, len(messages))
	var all sync.WaitGroup
	for i, m := range messages {
		all.Go(func() { results[i] = c.Store(ctx, m) })
	}
	return func() []error {
		all.Wait()
		return results
	}
}

// storeBatched stores the messages concurrently and holds the acks back until all are
// pending, so that most are in a batch.
func (c *bench) storeBatched(messages ...publish.Message) []error {
	c.t.Helper()
	release := c.wire.Hold(c.t)
	wait := c.storeAll(c.t.Context(), messages...)
	c.awaitPending(float64(len(messages)))
	release()
	return wait()
}

// messages returns n small messages.
func messages(n int) []publish.Message {
	all := make([]publish.Message, n)
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

// metric is the value of a metric, or the number of observations of a histogram.
func (c *bench) metric(name string) float64 {
	c.t.Helper()
	return testbench.Value(c.t, c.registry, name)
}

const (
	batchesMetric   = "arauto_publish_batch_messages"
	thresholdMetric = "arauto_publish_batch_threshold_messages"
	backlogMetric   = "arauto_publish_backlog_messages"
	fallbacksMetric = "arauto_publish_batch_fallbacks_total"
)

// awaitPending waits until n messages are pending.
func (c *bench) awaitPending(n float64) {
	c.t.Helper()
	testbench.Until(c.t, "the messages are pending", func() bool { return c.metric(backlogMetric) == n })
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
func (c *bench) storedOnce(messages ...publish.Message) {
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
	if got := c.metric(batchesMetric); got < 1 || got > 3 {
		t.Errorf("%v batches", got)
	}
	if got := c.metric(fallbacksMetric); got != 0 {
		t.Errorf("%v messages were retried singly", got)
	}
	if c.SchedLatency() == 0 {
		t.Error("no scheduling latency was measured over 300 callers")
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
	if got := c.metric(batchesMetric); got != 0 {
		t.Errorf("%v batches of eight concurrent callers", got)
	}
}

// TestBatchesAreTriedBelowTheInitialThreshold has six callers, fewer than the threshold
// of an unknown broker.
func TestBatchesAreTriedBelowTheInitialThreshold(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	c.SetBatchThreshold(0)
	if got := c.metric(thresholdMetric); got != threshold {
		t.Errorf("the initial threshold is %v", got)
	}
	var next atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := c.Store(context.Background(), message(int(next.Add(1)))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	testbench.Until(t, "batches are measured", c.MeasuredBatches)
	stop()
	all.Wait()
	sent := make([]publish.Message, next.Load())
	for i := range sent {
		sent[i] = message(i + 1)
	}
	c.storedOnce(sent...)
	if got := c.metric(thresholdMetric); got < 3 || got > 64 {
		t.Errorf("the learned threshold is %v", got)
	}
}

func TestNothingIsBatchedByDefault(t *testing.T) {
	t.Parallel()
	c := start(t, func(o *publish.Options) { o.GroupCommit = nil })
	all := messages(300)
	allNil(t, c.storeAll(t.Context(), all...)())
	c.storedOnce(all...)
	if got := c.metric(batchesMetric); got != 0 {
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
	if !errors.Is(results[150], publish.ErrTooLarge) {
		t.Errorf("the large one: %v", results[150])
	}
	results[150] = nil
	allNil(t, results)
	c.storedOnce(append(append([]publish.Message{}, all[:150]...), all[151:]...)...)
	if c.metric(batchesMetric) == 0 {
		t.Error("there was no batch, so this shows nothing")
	}
}

func TestSameIDTwiceIsStoredOnceAndAckedTwice(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	all := messages(200)
	allNil(t, c.storeBatched(append(all, all[7], all[100])...))
	c.storedOnce(all...)
	if c.metric(batchesMetric) == 0 {
		t.Error("there was no batch, so this shows nothing")
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
		case !errors.Is(err, publish.ErrFull):
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
	if got := c.metric(batchesMetric); got < 1 || got > 2 {
		t.Errorf("%v batches were tried", got)
	}
}

// Acks of messages that come slowly are slow too, which says nothing of how many the
// broker can take.
func TestBurstAfterAQuietTimeIsStored(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	release := c.wire.Hold(t)
	first := c.storeAll(t.Context(), message(1000))
	c.awaitPending(1)
	c.SetAckRate(10)
	all := messages(300)
	wait := c.storeAll(t.Context(), all...)
	c.awaitPending(301)
	release()
	allNil(t, first())
	allNil(t, wait())
	c.storedOnce(append(all, message(1000))...)
}

func TestReadyNeedsConnectionAndStream(t *testing.T) {
	t.Parallel()
	c := startOn(t, testbench.StartEmpty(t), nil)
	ctx := testbench.Context(t)
	if err := c.Ready(ctx); !errors.Is(err, publish.ErrMissing) {
		t.Errorf("without a stream: %v", err)
	}
	c = start(t, nil)
	if err := c.Ready(ctx); err != nil {
		t.Errorf("with connection and stream: %v", err)
	}
	c.nc.Close()
	if err := c.Ready(ctx); !errors.Is(err, publish.ErrDisconnected) {
		t.Errorf("without a connection: %v", err)
	}
	if err := c.Store(ctx, message(0)); !errors.Is(err, publish.ErrDisconnected) {
		t.Errorf("store without a connection: %v", err)
	}
}
