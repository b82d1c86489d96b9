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
		Broker: testbench.StartEmpty(t), ackWait: ackWait,
		registry: prometheus.NewRegistry(), heartbeats: map[string]int{},
	}
	r.metrics = consume.NewMetrics(r.registry)
	stream, err := r.JS.CreateStream(r.Ctx, jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}})
	r.Must(err)
	r.consumer, err = stream.CreateConsumer(r.Ctx, jetstream.ConsumerConfig{
		Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 16384,
	})
	r.Must(err)
	spy := r.Connect()
	_, err = spy.Subscribe("$JS.ACK.>", r.countAck)
	r.Must(err)
	r.Must(spy.Flush())
	return r
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
	r.T.Helper()
	for _, s := range subjects {
		_, err := r.JS.Publish(r.Ctx, "work."+s, nil)
		r.Must(err)
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
	ctx, stop := context.WithCancel(r.Ctx)
	w := &running{r: r, stop: stop, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.done <- consume.Run(ctx, o, handle)
	}()
	r.T.Cleanup(func() { stop(); <-ended })
	return w
}

// wait returns what Run returned.
func (w *running) wait() error {
	w.r.T.Helper()
	return testbench.Receive(w.r.T, "Run returns", w.done)
}

// end stops a worker and wants it to end without an error.
func (w *running) end() {
	w.r.T.Helper()
	w.stop()
	if err := w.wait(); err != nil {
		w.r.T.Fatalf("a stop gave %v", err)
	}
}

func (r *rig) info() *jetstream.ConsumerInfo {
	r.T.Helper()
	info, err := r.consumer.Info(r.Ctx)
	r.Must(err)
	return info
}

// receive takes n values from a channel.
func receive[T any](r *rig, from <-chan T, n int) []T {
	r.T.Helper()
	var all []T
	for len(all) < n {
		all = append(all, testbench.Receive(r.T, fmt.Sprintf("value %d of %d", len(all)+1, n), from))
	}
	return all
}

// results checks the counter of messages, by result.
func (r *rig) results(want map[string]int) {
	r.T.Helper()
	text := "# HELP arauto_messages_total Messages handled by this process, by durable consumer and result: " +
		"done, failed, interrupted, not_now, unacknowledged or fatal.\n# TYPE arauto_messages_total counter\n"
	for _, result := range []string{"done", "failed", "interrupted", "not_now", "unacknowledged", "fatal"} {
		n := want[result] // Each is there from the start.
		text += fmt.Sprintf("arauto_messages_total{consumer=\"worker\",result=%q} %d\n", result, n)
	}
	if err := testutil.GatherAndCompare(r.registry, strings.NewReader(text)); err != nil {
		r.T.Error(err)
	}
}

// checkDone checks that every message was delivered and acked, and that as many were
// redelivered as wanted.
func (r *rig) checkDone() {
	r.T.Helper()
	info := r.info()
	if info.NumAckPending != 0 || info.NumPending != 0 || info.NumRedelivered != 0 {
		r.T.Errorf("after all work %d messages are unacknowledged, %d undelivered, %d redelivered",
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
