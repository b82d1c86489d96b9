package outage

import "github.com/prometheus/client_golang/prometheus"

// Metrics says for which providers this process has paused its look-ups.
type Metrics struct {
	paused *prometheus.GaugeVec
	pauses *prometheus.CounterVec
}

// NewMetrics registers the metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		paused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_provider_paused",
			Help: "1 while this process has paused its look-ups of the provider, because it gets no usable answer.",
		}, []string{"provider"}),
		pauses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_provider_pauses_total",
			Help: "Times that this process has paused its look-ups of the provider, again after a failing probe included.",
		}, []string{"provider"}),
	}
	r.MustRegister(m.paused, m.pauses)
	return m
}
