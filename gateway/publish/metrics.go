package publish

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts batches, and the messages that were stored alone after their batch failed.
type metrics struct {
	batches   prometheus.Histogram
	fallbacks prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "arauto_publish_batch_messages",
			Help:    "Notifications per atomic batch. Those published one by one are not in it.",
			Buckets: []float64{4, 8, 16, 32, 64, 128, 256, 512, 1000},
		}),
		fallbacks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arauto_publish_batch_fallbacks_total",
			Help: "Notifications published again one by one, because their batch was refused or not confirmed in time.",
		}),
	}
}

// register registers the metrics with r. pending is called at each scrape.
func (m metrics) register(r prometheus.Registerer, pending func() int) error {
	backlog := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arauto_publish_backlog_messages",
		Help: "Notifications that wait for the broker or for its confirmation.",
	}, func() float64 { return float64(pending()) })
	for _, c := range []prometheus.Collector{m.batches, m.fallbacks, backlog} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register publisher metrics: %w", err)
		}
	}
	return nil
}
