package retention

import "github.com/prometheus/client_golang/prometheus"

// Metrics tells what was removed.
type Metrics struct {
	purged    *prometheus.GaugeVec
	compacted *prometheus.CounterVec
	filled    prometheus.Gauge
}

// NewMetrics registers the metrics. The counters of the providers are there from the
// start.
func NewMetrics(r prometheus.Registerer, providers ...string) *Metrics {
	m := &Metrics{
		purged: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_sweep_purged_below_sequence",
			Help: "Sequence of NOTIFICATIONS below which a provider's finished ones were last removed.",
		}, []string{"provider"}),
		compacted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_sweep_compacted_payments_total",
			Help: "Payments that have long been final and of which only the last event was kept.",
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
