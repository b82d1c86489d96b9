package stuck

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/workers/internal/duequeue"
)

// TestWhatAKilledBrokerBringsBackIsFound lets a watch forget a schedule, as it
// does with one that has fired. A broker that is killed right after the firing
// can bring it back under its old number, where nobody would look again.
func TestWhatAKilledBrokerBringsBackIsFound(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t)
	nc, js := testbench.Connect(t, b.URL)
	ctx := b.Ctx
	m := nats.NewMsg("lookup.parked.sandbox.default.p")
	m.Header.Set("Nats-Schedule", "@at 2099-01-02T03:04:05Z")
	m.Header.Set("Nats-Schedule-Target", "lookup.due.sandbox.default.p")
	_, err := js.PublishMsg(ctx, m)
	b.Must(err)
	metrics := NewMetrics(prometheus.NewRegistry())
	w, err := New(ctx, Options{
		JS: js, Log: zap.NewNop(), Metrics: metrics, After: time.Minute,
		Now: func() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) },
	})
	b.Must(err)
	round := func(want float64) {
		t.Helper()
		b.Must(w.Round(ctx))
		if got := testutil.ToFloat64(metrics.republished); got != want {
			t.Errorf("%v schedules were published again, want %v", got, want)
		}
	}
	round(1)
	w.read, w.due = 1000, duequeue.Queue{}
	w.stream = ahead{w.stream}
	round(1)
	b.Stop()
	b.Restart()
	b.Until("the connection is back", func() bool { return nc.Stats().Reconnects > 0 && nc.IsConnected() })
	round(2)
}

// ahead is a stream whose last number is beyond everything that was read.
type ahead struct{ jetstream.Stream }

func (a ahead) Info(ctx context.Context, o ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	info, err := a.Stream.Info(ctx, o...)
	if err == nil {
		info.State.LastSeq += 1000
	}
	return info, err
}
