package webhook

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// publisherMetrics tell how notifications travel to the broker.
type publisherMetrics struct {
	batches prometheus.Histogram
	apart   prometheus.Counter
}

// newPublisherMetrics makes the metrics, and registers them where there is a
// registry.
func newPublisherMetrics(registerer prometheus.Registerer, backlog, together func() float64) (*publisherMetrics, error) {
	m := &publisherMetrics{
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "arauto_publish_batch_messages",
			Help:    "Notifications per atomic batch. Those published one by one are not in it.",
			Buckets: []float64{4, 8, 16, 32, 64, 128, 256, 512, 1000},
		}),
		apart: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arauto_publish_batch_fallbacks_total",
			Help: "Notifications published again one by one, because their batch was refused or not confirmed in time.",
		}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, collector := range []prometheus.Collector{m.batches, m.apart, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arauto_publish_backlog_messages",
		Help: "Notifications that wait for the broker or for its confirmation.",
	}, backlog), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arauto_publish_batch_threshold_messages",
		Help: "From how many concurrent notifications on one atomic batch takes less time, as far as this broker has shown. Nothing is grouped where the broker syncs lazily.",
	}, together)} {
		if err := registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("register publisher metrics: %w", err)
		}
	}
	return m, nil
}

func (m *publisherMetrics) sent(messages int) { m.batches.Observe(float64(messages)) }

func (m *publisherMetrics) countRefusedBatch(messages int) { m.apart.Add(float64(messages)) }
