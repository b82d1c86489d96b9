package stale

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what was made due.
type Metrics struct {
	due        *prometheus.CounterVec
	unreadable prometheus.Counter
}

// The reasons to make a payment due.
const (
	reasonSilent = "silent"
	reasonUnpaid = "unpaid"
	reasonOrphan = "orphan"
)

// NewMetrics registers the metrics. Those of the providers are there from the start.
func NewMetrics(r prometheus.Registerer, providers ...string) *Metrics {
	m := &Metrics{due: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "arauto_sweep_enqueued_lookups_total",
		Help: "Payments made due for a look-up, by reason: silent for too long, unpaid, ended without money and asked again, or orphan, a notification that left no trace.",
	}, []string{"provider", "reason"})}
	m.unreadable = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "arauto_unreadable_events_total",
		Help: "Messages of ORDERS that do not decode and were given a dead letter, each counted once. Raise an alarm.",
	})
	r.MustRegister(m.due, m.unreadable)
	for _, provider := range providers {
		for _, reason := range []string{reasonSilent, reasonUnpaid, reasonOrphan} {
			m.due.WithLabelValues(provider, reason)
		}
	}
	return m
}

func (m *Metrics) made(provider, reason string) { m.due.WithLabelValues(provider, reason).Inc() }
