// Package periodic repeats the sweeper's tasks. A round that fails is told of
// and made again: everything that a round does is idempotent, so a broken one
// needs no clean-up, and a second copy of the sweeper only finds the work done.
package periodic

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/wait"
	"arauto/workers/internal/panics"
)

// Task is one thing to do over and over.
type Task struct {
	Name  string        // A metric label and a word in logs.
	Every time.Duration // From the end of one round to the beginning of the next.
	Do    func(ctx context.Context) error
}

// Metrics tell how rounds went.
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

// Run makes a round at once and then one after every pause, until ctx ends.
// It returns nil: no failure of a round ends it, because the others of the
// process are of use meanwhile.
func Run(ctx context.Context, t Task, log *zap.Logger, m *Metrics) error {
	for _, result := range []string{done, failed} { // There from the start, so that a rate sees the first failure.
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
			log.Error("round failed, it is made again", zap.String("task", t.Name), zap.Error(err))
		}
		m.rounds.WithLabelValues(t.Name, result).Inc()
		m.seconds.WithLabelValues(t.Name).Set(time.Since(began).Seconds())
		if !wait.For(ctx, t.Every) {
			return nil
		}
	}
}
