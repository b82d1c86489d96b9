package consume_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/workers/internal/consume"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// never is an ack wait longer than any test, so that only returned messages are
// redelivered.
const never = 10 * time.Minute

// rig is a broker with one stream and one durable consumer, and a subscription to its
// acks.
type rig struct {
	*testbench.Broker
	t        *testing.T
	ctx      context.Context
	ackWait  time.Duration
	consumer jetstream.Consumer
	registry *prometheus.Registry
	metrics  *consume.Metrics

	mu         sync.Mutex
	heartbeats map[string]int // In-progress acks, by delivery.
	acks       int            // Acks that ask the broker to confirm them.
}

func setup(t *testing.T, ackWait time.Duration) *rig {
	t.Helper()
	r := &rig{
		Broker: testbench.StartEmpty(t), t: t, ctx: testbench.Context(t), ackWait: ackWait,
		registry: prometheus.NewRegistry(), heartbeats: map[string]int{},
	}
	r.metrics = consume.NewMetrics(r.registry)
	stream, err := r.JS.CreateStream(r.ctx, jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}})
	r.must(err)
	r.consumer, err = stream.CreateConsumer(r.ctx, jetstream.ConsumerConfig{
		Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1,
	})
	r.must(err)
	spy := r.Connect()
	_, err = spy.Subscribe("$JS.ACK.>", r.countAck)
	r.must(err)
	r.must(spy.Flush())
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// countAck counts an ack of the worker.
func (r *rig) countAck(m *nats.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case string(m.Data) == "+WPI":
		r.heartbeats[m.Subject]++
	case string(m.Data) == "+ACK" && m.Reply != "":
		r.acks++
	}
}

// publish stores one message on each of the subjects, in this order.
func (r *rig) publish(subjects ...string) {
	r.t.Helper()
	for _, s := range subjects {
		_, err := r.JS.Publish(r.ctx, "work."+s, nil)
		r.must(err)
	}
}

// many names n messages on each of the subjects, in turns.
func many(n int, subjects ...string) []string {
	var all []string
	for range n {
		all = append(all, subjects...)
	}
	return all
}

func (r *rig) options(concurrency int) consume.Options {
	return consume.Options{
		Consumer: r.consumer, Name: "worker", Concurrency: concurrency, AckWait: r.ackWait,
		Grace: time.Minute, Log: zap.NewNop(), Metrics: r.metrics,
	}
}

// running is a consume.Run in the background.
type running struct {
	r    *rig
	stop context.CancelFunc
	done chan error
}

// start runs a worker until it is stopped, at the latest with the test.
func (r *rig) start(o consume.Options, handle consume.Handler) *running {
	ctx, stop := context.WithCancel(r.ctx)
	w := &running{r: r, stop: stop, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.done <- consume.Run(ctx, o, handle)
	}()
	r.t.Cleanup(func() { stop(); <-ended })
	return w
}

// wait returns what Run returned.
func (w *running) wait() error {
	w.r.t.Helper()
	select {
	case err := <-w.done:
		return err
	case <-w.r.ctx.Done():
		w.r.t.Fatal("Run does not return")
		return nil
	}
}

// end stops a worker and wants it to end without an error.
func (w *running) end() {
	w.r.t.Helper()
	w.stop()
	if err := w.wait(); err != nil {
		w.r.t.Fatalf("a stop gave %v", err)
	}
}

func (r *rig) info() *jetstream.ConsumerInfo {
	r.t.Helper()
	info, err := r.consumer.Info(r.ctx)
	r.must(err)
	return info
}

// eventually waits for a condition that no signal announces.
func (r *rig) eventually(what string, condition func() bool) {
	r.t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-r.ctx.Done():
			r.t.Fatalf("not met: %s", what)
		}
	}
}

// receive takes n values from a channel.
func receive[T any](r *rig, from <-chan T, n int) []T {
	r.t.Helper()
	var all []T
	for len(all) < n {
		select {
		case v := <-from:
			all = append(all, v)
		case <-r.ctx.Done():
			r.t.Fatalf("got %v, want %d of them", all, n)
		}
	}
	return all
}

// results checks the counter of messages, by result.
func (r *rig) results(want map[string]int) {
	r.t.Helper()
	text := "# HELP arauto_messages_total Messages handled by this process, by durable consumer and result: " +
		"done, failed, interrupted, not_now, unacknowledged or fatal.\n# TYPE arauto_messages_total counter\n"
	for _, result := range []string{"done", "failed", "interrupted", "not_now", "unacknowledged", "fatal"} {
		n := want[result] // Each is there from the start.
		text += fmt.Sprintf("arauto_messages_total{consumer=\"worker\",result=%q} %d\n", result, n)
	}
	if err := testutil.GatherAndCompare(r.registry, strings.NewReader(text)); err != nil {
		r.t.Error(err)
	}
}

// checkDone checks that every message was delivered and acked, and that as many were
// redelivered as wanted.
func (r *rig) checkDone() {
	r.t.Helper()
	info := r.info()
	if info.NumAckPending != 0 || info.NumPending != 0 || info.NumRedelivered != 0 {
		r.t.Errorf("after all work %d messages are unacknowledged, %d undelivered, %d redelivered",
			info.NumAckPending, info.NumPending, info.NumRedelivered)
	}
}

// ledger counts deliveries by stream sequence.
type ledger struct {
	mu   sync.Mutex
	seen map[uint64]int
}

func newLedger() *ledger { return &ledger{seen: map[uint64]int{}} }

func (l *ledger) note(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[meta.Sequence.Stream]++
	return nil
}

// distinct is how many messages were delivered at least once.
func (l *ledger) distinct() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
}

// repeated is how many were delivered more than once.
func (l *ledger) repeated() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.seen {
		if times > 1 {
			n++
		}
	}
	return n
}

var errBroken = errors.New("broken on purpose")
