package webhook_test

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
	dto "github.com/prometheus/client_model/go"

	"arauto/deploy/runtime/topology/jetstreamtest"
	"arauto/gateway/webhook"
	"arauto/schemas/subject"
)

// committer is a publisher behind a wire, and what it is told.
type committer struct {
	*webhook.Committer
	t        *testing.T
	broker   *jetstreamtest.Broker
	wire     *wire
	nc       *nats.Conn
	registry *prometheus.Registry
}

// group starts a publisher that groups, with a change of its options.
func group(t *testing.T, change func(*webhook.PublisherOptions)) *committer {
	t.Helper()
	return groupOn(t, jetstreamtest.Start(t), change)
}

func groupOn(t *testing.T, broker *jetstreamtest.Broker, change func(*webhook.PublisherOptions)) *committer {
	t.Helper()
	c := &committer{t: t, broker: broker, wire: newWire(t, broker.URL), registry: prometheus.NewRegistry()}
	var err error
	c.nc, err = nats.Connect("nats://"+c.wire.addr, nats.ReconnectBufSize(-1), nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.nc.Close)
	o := webhook.PublisherOptions{Timeout: 20 * time.Second, Group: always, Registerer: c.registry}
	if change != nil {
		change(&o)
	}
	if c.Committer, err = webhook.NewPublisher(c.nc, o); err != nil {
		t.Fatal(err)
	}
	c.Together(few)
	return c
}

// atEach runs a test with publishers that group from few on, from as few as
// possible, and from as many as the broker shows to be worth it.
func atEach(t *testing.T, test func(t *testing.T, group func(change func(*webhook.PublisherOptions)) *committer)) {
	t.Helper()
	for name, together := range map[string]int{"few": few, "fewest": 3, "learned": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, func(change func(*webhook.PublisherOptions)) *committer {
				c := group(t, change)
				c.Together(together)
				return c
			})
		})
	}
}

// few is from how many on messages travel together in most tests.
const few = 24

// message is a small one with an id of its own.
func message(n int) webhook.Message {
	return webhook.Message{
		ID: fmt.Sprintf("id-%d", n), Subject: fmt.Sprintf("notifications.sandbox.default.p%d", n),
		Body: []byte(`{}`),
	}
}

// storeAll stores the messages at once and returns what each was told.
func (c *committer) storeAll(ctx context.Context, messages ...webhook.Message) (wait func() []error) {
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

// storeHeld stores the messages at once and keeps the broker's answers back
// until all of them wait, so that most are in a batch.
func (c *committer) storeHeld(messages ...webhook.Message) []error {
	c.t.Helper()
	release := c.wire.hold(c.t)
	wait := c.storeAll(c.t.Context(), messages...)
	c.held(float64(len(messages)))
	release()
	return wait()
}

// messages are so many small ones.
func messages(n int) []webhook.Message {
	all := make([]webhook.Message, n)
	for i := range all {
		all[i] = message(i)
	}
	return all
}

// stored counts what the stream has, by message id.
func (c *committer) stored() map[string]int {
	c.t.Helper()
	ctx := jetstreamtest.Context(c.t)
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

// sum is a metric's value, or a histogram's count of observations.
func (c *committer) sum(name string) float64 {
	c.t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return value(family.GetMetric()[0])
		}
	}
	c.t.Fatalf("no metric is called %s", name)
	return 0
}

func value(m *dto.Metric) float64 {
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
}

const (
	batches  = "arauto_publish_batch_messages"
	together = "arauto_publish_batch_threshold_messages"
	backlog  = "arauto_publish_backlog_messages"
	apart    = "arauto_publish_batch_fallbacks_total"
)

// held waits until so many messages wait or are on their way.
func (c *committer) held(n float64) {
	c.t.Helper()
	until(c.t, func() bool { return c.sum(backlog) == n })
}

func allNil(t *testing.T, results []error) {
	t.Helper()
	for i, err := range results {
		if err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
}

// once wants each message in the stream once, and nothing else.
func (c *committer) once(messages ...webhook.Message) {
	c.t.Helper()
	stored := c.stored()
	for _, m := range messages {
		if stored[m.ID] != 1 {
			c.t.Errorf("%s is stored %d times", m.ID, stored[m.ID])
		}
		delete(stored, m.ID)
	}
	if len(stored) > 0 {
		c.t.Errorf("stored beside: %v", stored)
	}
}

func TestManyWhoWaitTravelAsOneBatch(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	all := messages(300)
	allNil(t, c.storeHeld(all...))
	c.once(all...)
	// The first few found nobody and went alone, then at the most two batches
	// took the others: what came before the wire was held, and the rest.
	if got := c.sum(batches); got < 1 || got > 3 {
		t.Errorf("%v batches", got)
	}
	if got := c.sum(apart); got != 0 {
		t.Errorf("%v messages fell out of their batch", got)
	}
	if c.Crowding() == 0 {
		t.Error("none of 300 callers was seen to wait for the processor, though each does for a moment")
	}
}

func TestFewTravelAlone(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	all := messages(400)
	for i := 0; i < len(all); i += 8 {
		allNil(t, c.storeAll(t.Context(), all[i:i+8]...)())
	}
	c.once(all...)
	if got := c.sum(batches); got != 0 {
		t.Errorf("%v batches of eight concurrent callers", got)
	}
}

// TestBatchesAreTriedWhereFewAreConcurrent has six callers, which are fewer
// than make a batch before the broker has shown anything.
func TestBatchesAreTriedWhereFewAreConcurrent(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	c.Together(0)
	if got := c.sum(together); got != few {
		t.Errorf("before anything was sent %v travel together", got)
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
	until(t, c.Learned)
	stop()
	all.Wait()
	sent := make([]webhook.Message, next.Load())
	for i := range sent {
		sent[i] = message(i + 1)
	}
	c.once(sent...)
	if got := c.sum(together); got < 3 || got > 64 {
		t.Errorf("%v travel together", got)
	}
}

func TestNothingIsGroupedUnlessAsked(t *testing.T) {
	t.Parallel()
	c := group(t, func(o *webhook.PublisherOptions) { o.Group = nil })
	all := messages(300)
	allNil(t, c.storeAll(t.Context(), all...)())
	c.once(all...)
	if got := c.sum(batches); got != 0 {
		t.Errorf("%v batches", got)
	}
}

// change updates the notifications stream.
func (c *committer) change(change func(*jetstream.StreamConfig)) {
	c.t.Helper()
	ctx := jetstreamtest.Context(c.t)
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

func TestOneRefusedMessageDoesNotFailItsNeighbours(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	c.change(func(s *jetstream.StreamConfig) { s.MaxMsgSize = 1000 })
	all := messages(200)
	all[150].Body = []byte(strings.Repeat("x", 2000))
	results := c.storeHeld(all...)
	if !errors.Is(results[150], webhook.ErrTooLarge) {
		t.Errorf("the large one: %v", results[150])
	}
	results[150] = nil
	allNil(t, results)
	c.once(append(append([]webhook.Message{}, all[:150]...), all[151:]...)...)
	if c.sum(batches) == 0 {
		t.Error("there was no batch, so this shows nothing")
	}
}

func TestTheSameIDTwiceIsStoredOnceAndConfirmedTwice(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	all := messages(200)
	allNil(t, c.storeHeld(append(all, all[7], all[100])...))
	c.once(all...)
	if c.sum(batches) == 0 {
		t.Error("there was no batch, so this shows nothing")
	}
}

func TestABatchThatDoesNotFitIsStoredAsFarAsThereIsRoom(t *testing.T) {
	t.Parallel()
	c := group(t, nil)
	const room = 60
	c.change(func(s *jetstream.StreamConfig) { s.MaxMsgs = room })
	all := messages(200)
	confirmed := 0
	stored := map[string]bool{}
	for i, err := range c.storeHeld(all...) {
		switch {
		case err == nil:
			confirmed++
			stored[all[i].ID] = true
		case !errors.Is(err, webhook.ErrFull):
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

func TestAStreamWithoutBatchesIsServedOneByOne(t *testing.T) {
	t.Parallel()
	broker := jetstreamtest.StartEmpty(t)
	if _, err := broker.JS.CreateStream(jetstreamtest.Context(t), jetstream.StreamConfig{
		Name: subject.Notifications, Subjects: []string{"notifications.*.*.*"},
	}); err != nil {
		t.Fatal(err)
	}
	c := groupOn(t, broker, nil)
	all := messages(300)
	for range 2 { // The second time it knows, and the ids are known too.
		allNil(t, c.storeAll(t.Context(), all...)())
	}
	c.once(all...)
	if got := c.sum(batches); got < 1 || got > 2 {
		t.Errorf("%v batches were tried", got)
	}
}
