package stale

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts payments by status and age, enqueued look-ups and unreadable events.
type Metrics struct {
	payments   *prometheus.GaugeVec
	enqueued   *prometheus.CounterVec
	unreadable prometheus.Counter
}

// The reasons to enqueue a look-up of a payment.
const (
	reasonStale       = "stale"
	reasonUnpaid      = "unpaid"
	reasonUnprocessed = "unprocessed"
)

// logEvents are the log events of an enqueued look-up, by reason.
var logEvents = map[string]string{
	reasonStale: "payment.stale", reasonUnpaid: "payment.unpaid", reasonUnprocessed: "notification.unprocessed",
}

// NewMetrics registers the metrics. Those of the providers are present from the start.
func NewMetrics(r prometheus.Registerer, providers ...string) *Metrics {
	m := &Metrics{enqueued: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "arauto_sweep_enqueued_lookups_total",
		Help: "Look-ups that were enqueued, by reason: stale, no answer for too long; unpaid, the payment ended without money; unprocessed, a notification without an outcome.",
	}, []string{"provider", "reason"})}
	m.unreadable = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "arauto_unreadable_events_total",
		Help: "Messages of ORDERS that do not decode and got a dead letter, each counted once. Raise an alarm.",
	})
	m.payments = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "arauto_payments",
		Help: "Payments by provider, status and time since their last event. Those that sweep does not look up any more, such as refunded ones, are not counted. Every sweep counts all: take the maximum.",
	}, []string{"provider", "status", "age"})
	r.MustRegister(m.payments, m.enqueued, m.unreadable)
	for _, provider := range providers {
		for _, reason := range []string{reasonStale, reasonUnpaid, reasonUnprocessed} {
			m.enqueued.WithLabelValues(provider, reason)
		}
	}
	return m
}
