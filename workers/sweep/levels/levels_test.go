package levels_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
	"arauto/workers/sweep/levels"
)

func TestMain(m *testing.M) { testbench.Main(m) }

func TestLevelsFollowStreamsParkedLookUpsAndLetters(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	ctx, tokens, must := b.Ctx, b.Tokens, b.Must
	store, err := retry.Open(ctx, b.JS, tokens)
	must(err)
	dead, err := deadletter.Open(ctx, b.JS)
	must(err)
	const room = 1 << 20
	registry := prometheus.NewRegistry()
	gauge, err := levels.New(ctx, levels.Options{JS: b.JS, DeadLetters: dead, Metrics: levels.NewMetrics(registry), Room: room})
	must(err)
	measured := func(when string, want map[string]float64) {
		t.Helper()
		must(gauge.Round(ctx))
		for series, value := range want {
			if got, ok := level(t, registry, series); !ok || got != value {
				t.Errorf("%s: %s is %v (there: %v), want %v", when, series, got, ok, value)
			}
		}
	}
	measured("at first", map[string]float64{
		"arauto_stream_fill_ratio ORDERS": 0, "arauto_stream_fill_ratio NOTIFICATIONS": 0, "arauto_stream_fill_ratio STATUSES": 0,
		"arauto_stream_fill_ratio DEAD_LETTERS": 0, "arauto_stream_fill_ratio LOOKUP_RETRIES": 0, "arauto_open_dead_letters ours": 0, "arauto_open_dead_letters data": 0,
		"arauto_scheduled_lookups transport": 0, "arauto_scheduled_lookups credential": 0, "arauto_scheduled_lookups other": 0,
	})
	for payment, waits := range map[string]string{"p-1": "transport", "p-2": "transport", "p-3": "strange"} {
		must(store.Schedule(ctx, retry.Fresh, record.ScheduledLookUp{
			Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Cause: order.CauseNotification, Reason: waits,
			DueAt: time.Now().Add(time.Hour).UTC(),
		}))
	}
	put := func(payment string, class record.Class, sequence uint64) {
		t.Helper()
		u := tokens.Unit("sandbox", "default", payment)
		id := deadletter.ID(subject.Notifications, sequence)
		must(dead.Put(ctx, u, record.DeadLetter{
			ID: id, Class: class, Stage: "lookup", Provider: u.Provider, Account: u.Account, Payment: payment,
			Cause: "c", LastAnswer: record.NoAnswer, Stream: subject.Notifications, Sequence: sequence, At: time.Now().UTC(),
		}, id, deadletter.SameID(id)))
	}
	retries, err := b.JS.Stream(ctx, subject.LookupRetries)
	must(err)
	measured("with parked look-ups", map[string]float64{
		"arauto_stream_fill_ratio LOOKUP_RETRIES": float64(retries.CachedInfo().State.Bytes) / room,
	})
	put("p-1", record.ClassData, 1)
	put("p-2", record.ClassData, 2)
	put("p-3", record.ClassOurs, 3)
	measured("with work", map[string]float64{
		"arauto_open_dead_letters data": 2, "arauto_open_dead_letters ours": 1, "arauto_open_dead_letters provider": 0,
		"arauto_scheduled_lookups transport": 2, "arauto_scheduled_lookups other": 1, "arauto_scheduled_lookups credential": 0,
	})
	letters, err := dead.Latest(ctx, "dead.data.>")
	must(err)
	must(dead.Mark(ctx, letters[0], record.Discarded, "done", time.Now().UTC()))
	stream, err := b.JS.Stream(ctx, subject.DeadLetters)
	must(err)
	changed := stream.CachedInfo().Config
	info, err := stream.Info(ctx)
	must(err)
	changed.MaxBytes = int64(info.State.Bytes) * 2
	_, err = b.JS.UpdateStream(ctx, changed)
	must(err)
	measured("after one is discarded", map[string]float64{
		"arauto_open_dead_letters data": 1, "arauto_open_dead_letters ours": 1, "arauto_stream_fill_ratio DEAD_LETTERS": 0.5,
	})
	b.Recreate(subject.DeadLetters)
	measured("after the letters are gone", map[string]float64{"arauto_open_dead_letters data": 0, "arauto_open_dead_letters ours": 0})
}

// level is the value of a gauge with one label of a value, as in "name value".
func level(t *testing.T, registry *prometheus.Registry, series string) (float64, bool) {
	t.Helper()
	name, label, _ := strings.Cut(series, " ")
	return testbench.Metric(t, registry, name, label)
}
