package sweep

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/wait"
	"arauto/workers/internal/panics"
)

// task runs in rounds. Each round is idempotent, so that a failed round is repeated without
// a clean-up, and several copies of the role may run.
type task struct {
	name  string        // A metric label, and a field of log lines.
	every time.Duration // From the end of a round to the beginning of the next.
	do    func(ctx context.Context) error
	reads bool // It changes nothing, so it runs while an operator holds the deployment.
}

// roundMetrics count and time rounds.
type roundMetrics struct {
	rounds  *prometheus.CounterVec
	seconds *prometheus.GaugeVec
}

// The results of a round.
const (
	done   = "done"
	failed = "failed"
)

func newRoundMetrics(r prometheus.Registerer) *roundMetrics {
	m := &roundMetrics{
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_sweep_rounds_total",
			Help: "Rounds of the sweeper by task and result: done or failed.",
		}, []string{"task", "result"}),
		seconds: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_sweep_round_seconds",
			Help: "How long the last round of a task took.",
		}, []string{"task"}),
	}
	r.MustRegister(m.rounds, m.seconds)
	return m
}

// run runs a round at once, and the next one every after each, until ctx ends. It
// returns nil: a failed round is logged and counted, and must not end the other tasks of
// the process.
func (t task) run(ctx context.Context, log *zap.Logger, m *roundMetrics) error {
	for _, result := range []string{done, failed} { // Present from the start, so that rate() sees the first failure.
		m.rounds.WithLabelValues(t.name, result)
	}
	for {
		began := time.Now()
		err := panics.Try(func() error { return t.do(ctx) })
		if ctx.Err() != nil {
			return nil //nolint:nilerr // A round that was stopped has not failed.
		}
		result := done
		if err != nil {
			result = failed
			log.Error("round.failed", zap.String("task", t.name), zap.Error(err))
		}
		m.rounds.WithLabelValues(t.name, result).Inc()
		m.seconds.WithLabelValues(t.name).Set(time.Since(began).Seconds())
		if !wait.For(ctx, t.every) {
			return nil
		}
	}
}
