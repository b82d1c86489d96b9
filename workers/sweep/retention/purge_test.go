package retention_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
	"arauto/workers/sweep/retention"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// must has the two forms of tests and of properties.
type must interface {
	Helper()
	Fatal(args ...any)
}

// everything is the judge that has seen all.
func everything(_ context.Context, _ string, floor uint64, _ time.Time) (uint64, error) {
	return floor, nil
}

// notifications makes the task under test, with a clock that is ahead.
func notifications(ctx context.Context, t must, js jetstream.JetStream, ahead time.Duration, providers ...string) *retention.Notifications {
	stream, err := js.Stream(ctx, subject.Notifications)
	testbench.Must(t, err)
	return &retention.Notifications{
		JS: js, Stream: stream, Providers: providers, Metrics: retention.NewMetrics(prometheus.NewRegistry()), Log: zap.NewNop(),
		Now: func() time.Time { return time.Now().Add(ahead) }, Keep: 72 * time.Hour, MinAge: 10 * time.Minute, Judge: everything,
	}
}

// store publishes one notification of a provider.
func store(ctx context.Context, t must, js jetstream.JetStream, provider string, size int) uint64 {
	t.Helper()
	ack, err := js.Publish(ctx, "notifications."+provider+".default.p", make([]byte, size))
	testbench.Must(t, err)
	return ack.Sequence
}

// stored lists the sequences of a provider's notifications.
func stored(ctx context.Context, t must, js jetstream.JetStream, provider string) []uint64 {
	t.Helper()
	stream, err := js.Stream(ctx, subject.Notifications)
	testbench.Must(t, err)
	var all []uint64
	for next := uint64(1); ; {
		raw, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject("notifications."+provider+".>"))
		if err != nil {
			return all
		}
		all, next = append(all, raw.Sequence), raw.Sequence+1
	}
}

// acknowledge takes n notifications and acknowledges those that are chosen by
// their place.
func acknowledge(ctx context.Context, t must, js jetstream.JetStream, provider string, n int, chosen ...int) {
	t.Helper()
	if n == 0 {
		return
	}
	consumer, err := js.Consumer(ctx, subject.Notifications, subject.LookupConsumer(provider))
	testbench.Must(t, err)
	batch, err := consumer.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	testbench.Must(t, err)
	place := 0
	for m := range batch.Messages() {
		if slices.Contains(chosen, place) {
			testbench.Must(t, m.DoubleAck(ctx))
		}
		place++
	}
}

func TestFinishedNotificationsGoAfterThreeDays(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox", "yapay")
	ctx := testbench.Context(t)
	for range 3 {
		store(ctx, t, b.JS, "sandbox", 1)
		store(ctx, t, b.JS, "yapay", 1)
	}
	acknowledge(ctx, t, b.JS, "sandbox", 3, 0, 1)
	acknowledge(ctx, t, b.JS, "yapay", 3, 0, 2)
	testbench.Must(t, notifications(ctx, t, b.JS, 71*time.Hour, "sandbox", "yapay").Round(ctx))
	if got := len(stored(ctx, t, b.JS, "sandbox")) + len(stored(ctx, t, b.JS, "yapay")); got != 6 {
		t.Fatalf("%d notifications are left before three days are over", got)
	}
	for range 2 { // Twice removes no more.
		testbench.Must(t, notifications(ctx, t, b.JS, 73*time.Hour, "sandbox", "yapay").Round(ctx))
		if got := stored(ctx, t, b.JS, "sandbox"); !slices.Equal(got, []uint64{5}) {
			t.Errorf("sandbox keeps %v, want the one that is not acknowledged", got)
		}
		if got := stored(ctx, t, b.JS, "yapay"); !slices.Equal(got, []uint64{4, 6}) {
			t.Errorf("yapay keeps %v, want what lies above its floor", got)
		}
	}
}

func TestOnlyTheOldAreRemoved(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	ctx := testbench.Context(t)
	for range 5 {
		store(ctx, t, b.JS, "sandbox", 1)
	}
	between := time.Now()
	for range 4 {
		store(ctx, t, b.JS, "sandbox", 1)
	}
	acknowledge(ctx, t, b.JS, "sandbox", 9, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	task := notifications(ctx, t, b.JS, 0, "sandbox")
	task.Now = func() time.Time { return between.Add(task.Keep) }
	testbench.Must(t, task.Round(ctx))
	if got := stored(ctx, t, b.JS, "sandbox"); !slices.Equal(got, []uint64{6, 7, 8, 9}) {
		t.Errorf("%v are left", got)
	}
}

func TestProviderWithoutNotificationsKeepsNobodysOld(t *testing.T) {
	t.Parallel()
	for name, replicas := range map[string]int{"one replica": 1, "replicated": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testbench.Start(t, "sandbox", "yapay")
			ctx := testbench.Context(t)
			store(ctx, t, b.JS, "yapay", 1)
			acknowledge(ctx, t, b.JS, "yapay", 1, 0)
			for range 3 {
				store(ctx, t, b.JS, "sandbox", 1)
			}
			acknowledge(ctx, t, b.JS, "sandbox", 2, 0, 1)
			task := notifications(ctx, t, b.JS, 73*time.Hour, "sandbox", "yapay")
			task.Stream = replicated{task.Stream, replicas}
			testbench.Must(t, task.Round(ctx))
			if sandbox, yapay := stored(ctx, t, b.JS, "sandbox"), stored(ctx, t, b.JS, "yapay"); !slices.Equal(sandbox, []uint64{4}) || len(yapay) > 0 {
				t.Errorf("sandbox keeps %v, yapay %v", sandbox, yapay)
			}
		})
	}
}

// replicated is a stream that says of itself that it has so many replicas.
type replicated struct {
	jetstream.Stream
	replicas int
}

func (r replicated) Info(ctx context.Context, o ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	info, err := r.Stream.Info(ctx, o...)
	if err == nil {
		info.Config.Replicas = r.replicas
	}
	return info, err
}

// In a cluster the leader of an idle consumer may not know of the provider's last
// notification yet.
func TestNotificationThatTheConsumerDoesNotKnowStays(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox", "yapay")
	ctx := testbench.Context(t)
	store(ctx, t, b.JS, "yapay", 1)
	acknowledge(ctx, t, b.JS, "yapay", 1, 0)
	before := store(ctx, t, b.JS, "sandbox", 1)
	acknowledge(ctx, t, b.JS, "sandbox", 1, 0)
	consumer, err := b.JS.Consumer(ctx, subject.Notifications, subject.LookupConsumer("sandbox"))
	testbench.Must(t, err)
	unknown := store(ctx, t, b.JS, "sandbox", 1)
	task := notifications(ctx, t, b.JS, 73*time.Hour, "sandbox", "yapay")
	task.Stream, task.JS = replicated{task.Stream, 3}, lagging{JetStream: b.JS, consumer: consumer}
	testbench.Must(t, task.Round(ctx))
	if got := stored(ctx, t, b.JS, "sandbox"); !slices.Equal(got, []uint64{unknown}) {
		t.Errorf("sandbox keeps %v, want %d, which its consumer does not know, and not %d", got, unknown, before)
	}
}

// lagging has a consumer of which it says what it knew before.
type lagging struct {
	jetstream.JetStream
	consumer jetstream.Consumer
}

func (l lagging) Consumer(ctx context.Context, stream, name string) (jetstream.Consumer, error) {
	if name == l.consumer.CachedInfo().Name {
		return l.consumer, nil
	}
	return l.JetStream.Consumer(ctx, stream, name)
}

func TestDeadProviderDoesNotFillTheStreamForAll(t *testing.T) {
	t.Parallel()
	b := testbench.StartEmpty(t)
	ctx := testbench.Context(t)
	_, err := topology.Apply(ctx, b.JS, topology.Settings{Replicas: 1, Store: 1 << 20, Providers: []string{"sandbox", "yapay"}})
	testbench.Must(t, err)
	store(ctx, t, b.JS, "yapay", 1)
	for range 7 { // 30 % of the store is NOTIFICATIONS's; this is two thirds of that.
		store(ctx, t, b.JS, "sandbox", 30<<10)
	}
	acknowledge(ctx, t, b.JS, "sandbox", 7, 0, 1, 2, 3, 4, 5, 6)
	testbench.Must(t, notifications(ctx, t, b.JS, 0, "sandbox", "yapay").Round(ctx))
	if sandbox, yapay := stored(ctx, t, b.JS, "sandbox"), stored(ctx, t, b.JS, "yapay"); len(sandbox) > 0 || len(yapay) != 1 {
		t.Errorf("sandbox keeps %v, yapay %v", sandbox, yapay)
	}
}

func TestACrowdedStreamIsEmptiedAtOnce(t *testing.T) {
	t.Parallel()
	b := testbench.StartEmpty(t)
	ctx := testbench.Context(t)
	_, err := topology.Apply(ctx, b.JS, topology.Settings{Replicas: 1, Store: 1 << 20, Providers: []string{"sandbox"}})
	testbench.Must(t, err)
	for range 7 { // 30 % of the store is NOTIFICATIONS's; this is two thirds of that.
		store(ctx, t, b.JS, "sandbox", 30<<10)
	}
	acknowledge(ctx, t, b.JS, "sandbox", 7, 0, 1, 2, 3, 5)
	testbench.Must(t, notifications(ctx, t, b.JS, 0, "sandbox").Round(ctx))
	if got := stored(ctx, t, b.JS, "sandbox"); !slices.Equal(got, []uint64{5, 6, 7}) {
		t.Errorf("%v are left, want what lies above the floor", got)
	}
}

func TestNothingGoesThatWasNotJudged(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	ctx := testbench.Context(t)
	for range 4 {
		store(ctx, t, b.JS, "sandbox", 1)
	}
	acknowledge(ctx, t, b.JS, "sandbox", 4, 0, 1, 2, 3)
	task := notifications(ctx, t, b.JS, 100*time.Hour, "sandbox")
	task.Judge = func(_ context.Context, _ string, floor uint64, _ time.Time) (uint64, error) { return floor - 2, nil }
	testbench.Must(t, task.Round(ctx))
	if got := stored(ctx, t, b.JS, "sandbox"); !slices.Equal(got, []uint64{3, 4}) {
		t.Errorf("%v are left, want those that nobody has judged", got)
	}
}

func TestWhatWasJudgedGoesAlthoughOneCannotBeJudged(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	ctx := testbench.Context(t)
	for range 4 {
		store(ctx, t, b.JS, "sandbox", 1)
	}
	acknowledge(ctx, t, b.JS, "sandbox", 4, 0, 1, 2, 3)
	task := notifications(ctx, t, b.JS, 100*time.Hour, "sandbox")
	broken := errors.New("broken")
	task.Judge = func(context.Context, string, uint64, time.Time) (uint64, error) { return 2, broken }
	if err := task.Round(ctx); !errors.Is(err, broken) {
		t.Errorf("the round says %v", err)
	}
	if got := stored(ctx, t, b.JS, "sandbox"); !slices.Equal(got, []uint64{3, 4}) {
		t.Errorf("%v are left, want those that were not judged", got)
	}
}

// TestPurgeNeverRemovesWhatIsNotAcknowledged holds it for any mixture of
// providers, acknowledgements and ages, with two copies at work at once.
func TestPurgeNeverRemovesWhatIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	names := make([]string, 200)
	for i := range names {
		names[i] = fmt.Sprintf("provider-%d", i)
	}
	b := testbench.Start(t, names...)
	ctx := testbench.Context(t)
	var round atomic.Int64
	rapid.Check(t, func(r *rapid.T) {
		first := round.Add(2) - 2
		if first+2 > int64(len(names)) {
			return
		}
		mine := names[first : first+2]
		held := map[string][]uint64{}
		for range rapid.IntRange(0, 12).Draw(r, "notifications") {
			name := rapid.SampledFrom(mine).Draw(r, "provider")
			held[name] = append(held[name], store(ctx, r, b.JS, name, 1))
		}
		want := map[string][]uint64{}
		for _, name := range mine {
			taken := rapid.IntRange(0, len(held[name])).Draw(r, "delivered")
			var acked []int
			for i, sequence := range held[name] {
				if i < taken && rapid.Bool().Draw(r, "acknowledged") {
					acked = append(acked, i)
				} else {
					want[name] = append(want[name], sequence)
				}
			}
			acknowledge(ctx, r, b.JS, name, taken, acked...)
		}
		ahead := time.Duration(rapid.IntRange(0, 100).Draw(r, "hours")) * time.Hour
		done := make(chan error, 2)
		for range 2 {
			task := notifications(ctx, r, b.JS, ahead, mine...)
			go func() { done <- task.Round(ctx) }()
		}
		testbench.Must(r, <-done)
		testbench.Must(r, <-done)
		for _, name := range mine {
			got := stored(ctx, r, b.JS, name)
			for _, sequence := range want[name] {
				if !slices.Contains(got, sequence) {
					r.Fatalf("%d of %s is gone and was not acknowledged; left are %v of %v", sequence, name, got, held[name])
				}
			}
			if ahead > 72*time.Hour && len(want[mine[0]])+len(want[mine[1]]) == 0 && len(got) > 0 {
				r.Fatalf("all of %s was finished long ago, but %v are left", name, got)
			}
		}
		for _, name := range mine { // What it has not acknowledged would hold up the next ones.
			testbench.Must(r, b.JS.DeleteConsumer(ctx, subject.Notifications, subject.LookupConsumer(name)))
		}
	})
}

// What it has not acknowledged stays, and nothing is removed by subject, which walks every
// block of the stream under its lock.
func TestConsumerOfARemovedProviderStaysUntilItIsEmpty(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox", "removed")
	ctx := testbench.Context(t)
	for range 2 {
		store(ctx, t, b.JS, "sandbox", 1)
		store(ctx, t, b.JS, "removed", 1)
	}
	acknowledge(ctx, t, b.JS, "sandbox", 2, 0, 1)
	acknowledge(ctx, t, b.JS, "removed", 1, 0)
	left := func(sandbox, removed []uint64) {
		t.Helper()
		testbench.Must(t, notifications(ctx, t, b.JS, 73*time.Hour, "sandbox").Round(ctx))
		if one, other := stored(ctx, t, b.JS, "sandbox"), stored(ctx, t, b.JS, "removed"); !slices.Equal(one, sandbox) || !slices.Equal(other, removed) {
			t.Errorf("%v and %v are left, want %v and %v", one, other, sandbox, removed)
		}
	}
	left([]uint64{3}, []uint64{4}) // It has acknowledged 2.
	acknowledge(ctx, t, b.JS, "removed", 1, 0)
	left(nil, nil)
}
