package publish

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts batches and the messages that fell out of them.
type metrics struct {
	batches   prometheus.Histogram
	fallbacks prometheus.Counter
}

// newMetrics makes the metrics and registers them, unless registerer is nil. backlog and
// threshold are called at each scrape.
func newMetrics(registerer prometheus.Registerer, backlog, threshold func() float64) (*metrics, error) {
	m := &metrics{
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
	if registerer == nil {
		return m, nil
	}
	for _, collector := range []prometheus.Collector{m.batches, m.fallbacks, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arauto_publish_backlog_messages",
		Help: "Notifications that wait for the broker or for its confirmation.",
	}, backlog), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arauto_publish_batch_threshold_messages",
		Help: "Concurrent notifications from which one atomic batch takes less time, as measured on this broker. Nothing is batched where the broker syncs lazily.",
	}, threshold)} {
		if err := registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("register publisher metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) batchSent(messages int) { m.batches.Observe(float64(messages)) }

func (m *metrics) fellBack(messages int) { m.fallbacks.Add(float64(messages)) }
