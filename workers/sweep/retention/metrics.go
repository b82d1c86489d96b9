package retention

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what retention removed.
type Metrics struct {
	purged    *prometheus.GaugeVec
	compacted *prometheus.CounterVec
	filled    prometheus.Gauge
}

// NewMetrics registers the metrics. The counters of the providers are present from the
// start.
func NewMetrics(r prometheus.Registerer, providers ...string) *Metrics {
	m := &Metrics{
		purged: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_sweep_purged_below_sequence",
			Help: "Sequence of NOTIFICATIONS below which a provider's processed notifications were last purged.",
		}, []string{"provider"}),
		compacted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_sweep_compacted_payments_total",
			Help: "Final payments that were compacted to their last event.",
		}, []string{"provider"}),
		filled: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_notifications_fill_ratio",
			Help: "How full NOTIFICATIONS is, from 0 to 1; at 1 webhooks get 503.",
		}),
	}
	r.MustRegister(m.purged, m.compacted, m.filled)
	for _, provider := range providers {
		m.compacted.WithLabelValues(provider)
	}
	return m
}
