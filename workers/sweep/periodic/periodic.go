// Package periodic runs the tasks of sweep in rounds. Each round is idempotent, so
// a failed round is repeated without a clean-up, and several copies of the role may run.
package periodic

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/wait"
	"arauto/workers/internal/panics"
)

// Task is one periodic task.
type Task struct {
	Name  string        // A metric label, and a field of log lines.
	Every time.Duration // From the end of a round to the beginning of the next.
	Do    func(ctx context.Context) error
}

// Metrics count and time rounds.
type Metrics struct {
	rounds  *prometheus.CounterVec
	seconds *prometheus.GaugeVec
}

// The results of a round.
const (
	done   = "done"
	failed = "failed"
)

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
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

// Run runs a round at once, and the next one Every after each, until ctx ends. It
// returns nil: a failed round is logged and counted, and must not end the other tasks of
// the process.
func Run(ctx context.Context, t Task, log *zap.Logger, m *Metrics) error {
	for _, result := range []string{done, failed} { // Present from the start, so that rate() sees the first failure.
		m.rounds.WithLabelValues(t.Name, result)
	}
	for {
		began := time.Now()
		err := panics.Try(func() error { return t.Do(ctx) })
		if ctx.Err() != nil {
			return nil //nolint:nilerr // A round that was stopped has not failed.
		}
		result := done
		if err != nil {
			result = failed
			log.Error("round.failed", zap.String("task", t.Name), zap.Error(err))
		}
		m.rounds.WithLabelValues(t.Name, result).Inc()
		m.seconds.WithLabelValues(t.Name).Set(time.Since(began).Seconds())
		if !wait.For(ctx, t.Every) {
			return nil
		}
	}
}
