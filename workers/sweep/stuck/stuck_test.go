package stuck_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
	"arauto/workers/sweep/stuck"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// rig is a broker with LOOKUP_RETRIES and a retries on it.
type rig struct {
	t       *testing.T
	ctx     context.Context
	js      jetstream.JetStream
	stream  jetstream.Stream
	retries *retry.Store
	tokens  subject.Tokens
}

func over(t *testing.T, js jetstream.JetStream) *rig {
	t.Helper()
	r := &rig{t: t, ctx: testbench.Context(t), js: js}
	var err error
	r.tokens, err = subject.Keyed("a key for tests, 32 bytes long...")
	r.must(err)
	r.stream, err = js.Stream(r.ctx, subject.LookupRetries)
	r.must(err)
	r.retries, err = retry.Open(r.ctx, js, r.tokens)
	r.must(err)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) park(payment string, due time.Time) {
	r.t.Helper()
	r.must(r.retries.Schedule(r.ctx, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment,
		Cause: order.CauseNotification, Attempts: 2, DueAt: due,
	}))
}

func (r *rig) place(payment string) retry.Entry {
	r.t.Helper()
	place, err := r.retries.Read(r.ctx, "sandbox", "default", payment)
	r.must(err)
	return place
}

// fired waits up to a while for a look-up to come due and reports whether it
// did.
func (r *rig) fired(payment string, within time.Duration) bool {
	r.t.Helper()
	end := time.NewTimer(within)
	defer end.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := r.stream.GetLastMsgForSubject(r.ctx, r.tokens.Waiting("sandbox", "default", payment).Due())
		if err == nil {
			return true
		}
		select {
		case <-ticker.C:
		case <-end.C:
			return false
		}
	}
}

// watch makes a watch whose clock is ahead, and the gauge that it sets.
func (r *rig) watch(ahead, after time.Duration) (*stuck.Republisher, *prometheus.Registry) {
	r.t.Helper()
	registry := prometheus.NewRegistry()
	w, err := stuck.New(r.ctx, stuck.Options{
		JS: r.js, Log: zap.NewNop(), Metrics: stuck.NewMetrics(registry),
		Now: func() time.Time { return time.Now().Add(ahead) }, After: after,
	})
	r.must(err)
	return w, registry
}

func value(t *testing.T, g prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// smallBroker grants JetStream a few megabytes, so that a test can fill it.
func smallBroker(t *testing.T) jetstream.JetStream {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: "small", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 4 << 20, NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server is not ready after 10 s")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range topology.Streams(topology.Settings{Replicas: 1}) {
		if config.Name == subject.LookupRetries {
			if _, err := js.CreateStream(testbench.Context(t), config); err != nil {
				t.Fatal(err)
			}
		}
	}
	return js
}

// TestScheduleThatFoundNoRoomFiresAfterItIsPublishedAgain reproduces what the
// package is for with a store that is really full. If the first half fails
// one day, the broker has learned to try again and the watch may go.
func TestScheduleThatFoundNoRoomFiresAfterItIsPublishedAgain(t *testing.T) {
	t.Parallel()
	js := smallBroker(t)
	r := over(t, js)
	filler, err := js.CreateStream(r.ctx, jetstream.StreamConfig{Name: "FILLER", Subjects: []string{"filler"}})
	r.must(err)
	for range 48 { // Most of it before the clock runs, because a busy machine takes its time.
		_, err := js.Publish(r.ctx, "filler", make([]byte, 64<<10))
		r.must(err)
	}
	due := time.Now().Add(2 * time.Second)
	r.park("p", due)
	for _, size := range []int{64 << 10, 1 << 10, 1} {
		for {
			if _, err := js.Publish(r.ctx, "filler", make([]byte, size)); err != nil {
				break
			}
		}
	}
	if time.Now().After(due) {
		t.Fatal("it took too long to fill the store; the test shows nothing")
	}
	if r.fired("p", time.Until(due)+time.Second) {
		t.Fatal("it fired although the store is full; the test shows nothing")
	}
	w, metrics := r.watch(0, 500*time.Millisecond)
	if err := w.Round(r.ctx); err == nil {
		t.Error("publishing again into a full store went well")
	}
	if late := value(t, metrics, "arauto_sweep_oldest_stuck_schedule_seconds"); late < 0.5 {
		t.Errorf("the oldest overdue schedule is %v s late", late)
	}
	r.must(filler.Purge(r.ctx))
	if r.fired("p", 2*time.Second) {
		t.Fatal("it fired once there was room; the broker needs no help any more")
	}
	r.must(w.Round(r.ctx))
	if !r.fired("p", 10*time.Second) {
		t.Fatal("it did not fire after it was published again")
	}
	if n := value(t, metrics, "arauto_sweep_republished_schedules_total"); n != 1 {
		t.Errorf("%v schedules were published again, want 1", n)
	}
	r.must(w.Round(r.ctx))
	if late := value(t, metrics, "arauto_sweep_oldest_stuck_schedule_seconds"); late != 0 {
		t.Errorf("the oldest overdue schedule is %v s late after all is well", late)
	}
}

func TestOverdueIsPublishedVerbatimAndTheRestLeftAlone(t *testing.T) {
	t.Parallel()
	r := over(t, testbench.Start(t, "sandbox").JS)
	now := time.Now()
	m := nats.NewMsg(r.tokens.Waiting("sandbox", "default", "late").Parked())
	m.Data = []byte(`{"provider":"sandbox","attempts":2}`)
	m.Header.Set("Nats-Schedule", "@at "+now.Add(time.Hour).UTC().Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", r.tokens.Waiting("sandbox", "default", "late").Due())
	m.Header.Set("Remark", "kept")
	_, err := r.js.PublishMsg(r.ctx, m, jetstream.WithMsgID("once"))
	r.must(err)
	r.park("early", now.Add(3*time.Hour))
	before := r.place("late")
	original, err := r.stream.GetMsg(r.ctx, before.Sequence)
	r.must(err)
	early := r.place("early")

	w, _ := r.watch(time.Hour+time.Minute, 30*time.Second)
	r.must(w.Round(r.ctx))
	after := r.place("late")
	if after.Sequence == before.Sequence {
		t.Fatal("the overdue look-up was not published again")
	}
	copied, err := r.stream.GetMsg(r.ctx, after.Sequence)
	r.must(err)
	if string(copied.Data) != string(original.Data) || copied.Header.Get("Nats-Msg-Id") != "" {
		t.Errorf("it is %s with %v now", copied.Data, copied.Header)
	}
	for _, name := range []string{"Nats-Schedule", "Nats-Schedule-Target", "Remark"} {
		if copied.Header.Get(name) == "" || copied.Header.Get(name) != original.Header.Get(name) {
			t.Errorf("%s is %q, was %q", name, copied.Header.Get(name), original.Header.Get(name))
		}
	}
	if now := r.place("early"); now.Sequence != early.Sequence {
		t.Error("a look-up that is not due was published again")
	}
}

func TestTwoWatchesAtOnceLoseAndChangeNothing(t *testing.T) {
	t.Parallel()
	r := over(t, testbench.Start(t, "sandbox").JS)
	for i := range 20 {
		r.park(fmt.Sprintf("p-%d", i), time.Now().Add(time.Hour))
	}
	done := make(chan error, 2)
	for range 2 {
		w, _ := r.watch(2*time.Hour, 30*time.Second)
		go func() { done <- w.Round(r.ctx) }()
	}
	for range 2 {
		r.must(<-done)
	}
	for i := range 20 {
		if p := r.place(fmt.Sprintf("p-%d", i)); p.Sequence <= 20 || p.Parked.Attempts != 2 {
			t.Errorf("payment %d is at %d with %+v", i, p.Sequence, p.Parked)
		}
	}
}

// overtaken is a JetStream on which somebody else is faster: before the write
// it lets the other one move.
type overtaken struct {
	jetstream.JetStream
	move func()
}

func (o overtaken) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	o.move()
	return o.JetStream.PublishMsg(ctx, m, opts...)
}

func TestWhatIsReplacedOrCancelledMeanwhileIsNotBroughtBack(t *testing.T) {
	t.Parallel()
	r := over(t, testbench.Start(t, "sandbox").JS)
	for name, move := range map[string]func(){
		"replaced": func() {
			p := r.place("replaced").Parked
			p.Attempts, p.DueAt = 7, time.Now().Add(9*time.Hour)
			r.must(r.retries.Reschedule(r.ctx, p))
		},
		"cancelled": func() { r.must(r.retries.Cancel(r.ctx, r.place("cancelled"))) },
	} {
		r.park(name, time.Now().Add(time.Hour))
		w, err := stuck.New(r.ctx, stuck.Options{
			JS: overtaken{r.js, move}, Log: zap.NewNop(), Metrics: stuck.NewMetrics(prometheus.NewRegistry()),
			Now: func() time.Time { return time.Now().Add(2 * time.Hour) }, After: 30 * time.Second,
		})
		r.must(err)
		r.must(w.Round(r.ctx))
		if p := r.place(name); name == "replaced" && p.Parked.Attempts != 7 || name == "cancelled" && p.Sequence != 0 {
			t.Errorf("after it was %s there is %+v", name, p)
		}
		r.must(r.retries.Cancel(r.ctx, r.place(name)))
	}
}

func TestWhatFiredOrWasCancelledIsForgotten(t *testing.T) {
	t.Parallel()
	r := over(t, testbench.Start(t, "sandbox").JS)
	r.park("p", time.Now().Add(time.Hour))
	r.park("cancelled", time.Now().Add(time.Hour))
	ahead, metrics := r.watch(2*time.Hour, 30*time.Second)
	behind, _ := r.watch(0, 30*time.Second)
	r.must(behind.Round(r.ctx))
	r.must(r.retries.Cancel(r.ctx, r.place("cancelled")))
	r.must(ahead.Round(r.ctx))
	if p := r.place("cancelled"); p.Sequence != 0 {
		t.Errorf("a cancelled look-up is back: %+v", p)
	}
	if n := value(t, metrics, "arauto_sweep_republished_schedules_total"); n != 1 {
		t.Errorf("%v schedules were published again, want 1", n)
	}
}

func TestRecreatedStreamIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	r := over(t, testbench.Start(t, "sandbox").JS)
	for i := range 3 {
		r.park(fmt.Sprintf("p-%d", i), time.Now().Add(time.Hour))
	}
	ahead := time.Duration(0)
	registry := prometheus.NewRegistry()
	w, err := stuck.New(r.ctx, stuck.Options{
		JS: r.js, Log: zap.NewNop(), Metrics: stuck.NewMetrics(registry),
		Now: func() time.Time { return time.Now().Add(ahead) }, After: 30 * time.Second,
	})
	r.must(err)
	r.must(w.Round(r.ctx))
	config := r.stream.CachedInfo().Config
	r.must(r.js.DeleteStream(r.ctx, subject.LookupRetries))
	_, err = r.js.CreateStream(r.ctx, config)
	r.must(err)
	r.park("new", time.Now().Add(time.Hour))
	r.must(w.Round(r.ctx))
	ahead = 2 * time.Hour
	r.must(w.Round(r.ctx))
	if n := value(t, registry, "arauto_sweep_republished_schedules_total"); n != 1 {
		t.Errorf("%v schedules were published again, want the new one", n)
	}
}
