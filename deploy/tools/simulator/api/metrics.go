package api

import "github.com/prometheus/client_golang/prometheus"

// metrics are in a registry of their own, so that two simulators in one
// process do not meet.
type metrics struct {
	registry *prometheus.Registry
	lookups  *prometheus.CounterVec
	webhooks *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_simulator_lookups_total",
			Help: "Look-ups that the simulated providers were asked, by what became of them.",
		}, []string{"provider", "result"}),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_simulator_webhooks_total",
			Help: "Webhooks that the simulated providers sent, by the gateway's HTTP status or \"error\" without one.",
		}, []string{"provider", "code"}),
	}
	m.registry.MustRegister(m.lookups, m.webhooks)
	return m
}
