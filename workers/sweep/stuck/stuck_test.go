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

// rig is a broker with LOOKUP_RETRIES and the scheduled look-ups on it.
type rig struct {
	*testbench.Broker
	stream  jetstream.Stream
	retries *retry.Store
}

func setup(t *testing.T) *rig { t.Helper(); return over(testbench.Start(t, "sandbox")) }

func over(b *testbench.Broker) *rig {
	b.T.Helper()
	retries, err := retry.Open(b.Ctx, b.JS, b.Tokens)
	b.Must(err)
	return &rig{Broker: b, stream: b.Stream(subject.LookupRetries), retries: retries}
}

func (r *rig) park(payment string, due time.Time) {
	r.T.Helper()
	r.Must(r.retries.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment,
		Cause: order.CauseNotification, Attempts: 2, DueAt: due,
	}))
}

func (r *rig) place(payment string) retry.Entry {
	r.T.Helper()
	place, err := r.retries.Read(r.Ctx, "sandbox", "default", payment)
	r.Must(err)
	return place
}

// fired waits up to a while for a look-up to come due and reports whether it
// did.
func (r *rig) fired(payment string, within time.Duration) bool {
	r.T.Helper()
	ctx, cancel := context.WithTimeout(r.Ctx, within)
	defer cancel()
	return testbench.Poll(ctx, func() bool {
		_, err := r.stream.GetLastMsgForSubject(r.Ctx, r.Tokens.Waiting("sandbox", "default", payment).Due())
		return err == nil
	})
}

// watch makes a watch whose clock is ahead, and the gauge that it sets.
func (r *rig) watch(ahead, after time.Duration) (*stuck.Republisher, *prometheus.Registry) {
	r.T.Helper()
	registry := prometheus.NewRegistry()
	w, err := stuck.New(r.Ctx, stuck.Options{
		JS: r.JS, Log: zap.NewNop(), Metrics: stuck.NewMetrics(registry),
		Now: func() time.Time { return time.Now().Add(ahead) }, After: after,
	})
	r.Must(err)
	return w, registry
}

// small grants JetStream a few megabytes, so that a test can fill it.
func small(t *testing.T) *rig {
	t.Helper()
	b := testbench.StartEmpty(t, func(o *server.Options) { o.JetStreamMaxStore = 4 << 20 })
	for _, config := range topology.Streams(topology.Settings{Replicas: 1}) {
		if config.Name == subject.LookupRetries {
			_, err := b.JS.CreateStream(b.Ctx, config)
			b.Must(err)
		}
	}
	return over(b)
}

// TestScheduleThatFoundNoRoomFiresAfterItIsPublishedAgain reproduces what the
// package is for with a store that is really full. If the first half fails
// one day, the broker has learned to try again and the watch may go.
func TestScheduleThatFoundNoRoomFiresAfterItIsPublishedAgain(t *testing.T) {
	t.Parallel()
	r := small(t)
	filler, err := r.JS.CreateStream(r.Ctx, jetstream.StreamConfig{Name: "FILLER", Subjects: []string{"filler"}})
	r.Must(err)
	for range 48 { // Most of it before the clock runs, because a busy machine takes its time.
		_, err := r.JS.Publish(r.Ctx, "filler", make([]byte, 64<<10))
		r.Must(err)
	}
	due := time.Now().Add(2 * time.Second)
	r.park("p", due)
	for _, size := range []int{64 << 10, 1 << 10, 1} {
		for {
			if _, err := r.JS.Publish(r.Ctx, "filler", make([]byte, size)); err != nil {
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
	if err := w.Round(r.Ctx); err == nil {
		t.Error("publishing again into a full store went well")
	}
	if late := testbench.Value(t, metrics, "arauto_sweep_oldest_stuck_schedule_seconds"); late < 0.5 {
		t.Errorf("the oldest overdue schedule is %v s late", late)
	}
	r.Must(filler.Purge(r.Ctx))
	if r.fired("p", 2*time.Second) {
		t.Fatal("it fired once there was room; the broker needs no help any more")
	}
	r.Must(w.Round(r.Ctx))
	if !r.fired("p", 10*time.Second) {
		t.Fatal("it did not fire after it was published again")
	}
	if n := testbench.Value(t, metrics, "arauto_sweep_republished_schedules_total"); n != 1 {
		t.Errorf("%v schedules were published again, want 1", n)
	}
	r.Must(w.Round(r.Ctx))
	if late := testbench.Value(t, metrics, "arauto_sweep_oldest_stuck_schedule_seconds"); late != 0 {
		t.Errorf("the oldest overdue schedule is %v s late after all is well", late)
	}
}

func TestOverdueIsPublishedVerbatimAndTheRestLeftAlone(t *testing.T) {
	t.Parallel()
	r := setup(t)
	now := time.Now()
	m := nats.NewMsg(r.Tokens.Waiting("sandbox", "default", "late").Parked())
	m.Data = []byte(`{"provider":"sandbox","attempts":2}`)
	m.Header.Set("Nats-Schedule", "@at "+now.Add(time.Hour).UTC().Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", r.Tokens.Waiting("sandbox", "default", "late").Due())
	m.Header.Set("Remark", "kept")
	_, err := r.JS.PublishMsg(r.Ctx, m, jetstream.WithMsgID("once"))
	r.Must(err)
	r.park("early", now.Add(3*time.Hour))
	before := r.place("late")
	original, err := r.stream.GetMsg(r.Ctx, before.Sequence)
	r.Must(err)
	early := r.place("early")

	w, _ := r.watch(time.Hour+time.Minute, 30*time.Second)
	r.Must(w.Round(r.Ctx))
	after := r.place("late")
	if after.Sequence == before.Sequence {
		t.Fatal("the overdue look-up was not published again")
	}
	copied, err := r.stream.GetMsg(r.Ctx, after.Sequence)
	r.Must(err)
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
	r := setup(t)
	for i := range 20 {
		r.park(fmt.Sprintf("p-%d", i), time.Now().Add(time.Hour))
	}
	done := make(chan error, 2)
	for range 2 {
		w, _ := r.watch(2*time.Hour, 30*time.Second)
		go func() { done <- w.Round(r.Ctx) }()
	}
	for range 2 {
		r.Must(<-done)
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
	r := setup(t)
	for name, move := range map[string]func(){
		"replaced": func() {
			p := r.place("replaced").Parked
			p.Attempts, p.DueAt = 7, time.Now().Add(9*time.Hour)
			r.Must(r.retries.Schedule(r.Ctx, retry.Retry, p))
		},
		"cancelled": func() { r.Must(r.retries.Cancel(r.Ctx, r.place("cancelled"))) },
	} {
		r.park(name, time.Now().Add(time.Hour))
		w, err := stuck.New(r.Ctx, stuck.Options{
			JS: overtaken{r.JS, move}, Log: zap.NewNop(), Metrics: stuck.NewMetrics(prometheus.NewRegistry()),
			Now: func() time.Time { return time.Now().Add(2 * time.Hour) }, After: 30 * time.Second,
		})
		r.Must(err)
		r.Must(w.Round(r.Ctx))
		if p := r.place(name); name == "replaced" && p.Parked.Attempts != 7 || name == "cancelled" && p.Sequence != 0 {
			t.Errorf("after it was %s there is %+v", name, p)
		}
		r.Must(r.retries.Cancel(r.Ctx, r.place(name)))
	}
}

func TestWhatFiredOrWasCancelledIsForgotten(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.park("p", time.Now().Add(time.Hour))
	r.park("cancelled", time.Now().Add(time.Hour))
	ahead, metrics := r.watch(2*time.Hour, 30*time.Second)
	behind, _ := r.watch(0, 30*time.Second)
	r.Must(behind.Round(r.Ctx))
	r.Must(r.retries.Cancel(r.Ctx, r.place("cancelled")))
	r.Must(ahead.Round(r.Ctx))
	if p := r.place("cancelled"); p.Sequence != 0 {
		t.Errorf("a cancelled look-up is back: %+v", p)
	}
	if n := testbench.Value(t, metrics, "arauto_sweep_republished_schedules_total"); n != 1 {
		t.Errorf("%v schedules were published again, want 1", n)
	}
}

func TestRecreatedStreamIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for i := range 3 {
		r.park(fmt.Sprintf("p-%d", i), time.Now().Add(time.Hour))
	}
	ahead := time.Duration(0)
	registry := prometheus.NewRegistry()
	w, err := stuck.New(r.Ctx, stuck.Options{
		JS: r.JS, Log: zap.NewNop(), Metrics: stuck.NewMetrics(registry),
		Now: func() time.Time { return time.Now().Add(ahead) }, After: 30 * time.Second,
	})
	r.Must(err)
	r.Must(w.Round(r.Ctx))
	config := r.stream.CachedInfo().Config
	r.Must(r.JS.DeleteStream(r.Ctx, subject.LookupRetries))
	_, err = r.JS.CreateStream(r.Ctx, config)
	r.Must(err)
	r.park("new", time.Now().Add(time.Hour))
	r.Must(w.Round(r.Ctx))
	ahead = 2 * time.Hour
	r.Must(w.Round(r.Ctx))
	if n := testbench.Value(t, registry, "arauto_sweep_republished_schedules_total"); n != 1 {
		t.Errorf("%v schedules were published again, want the new one", n)
	}
}
