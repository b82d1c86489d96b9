package fold

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/spans"
	"arauto/schemas/order"
)

// Metrics counts outcomes of observations and measures the time from webhook to event.
type Metrics struct {
	outcomes *prometheus.CounterVec
	events   *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	repairs  *prometheus.CounterVec

	unreadable prometheus.Counter
}

// NewMetrics registers the metrics with r. Those of the given providers are set to 0 at
// start: a rate over a counter that appears with the first failure misses that failure.
func NewMetrics(r prometheus.Registerer, providers ...string) *Metrics {
	m := &Metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_normalize_outcomes_total",
			Help: "Observations by outcome: applied, unchanged, late, illegal, unknown_word, unconfirmed, insisted, already_folded, gone, forgotten or unreadable.",
		}, []string{"provider", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "arauto_webhook_to_event_seconds",
			Help:    "From the receipt of a webhook to the order event that it led to.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 3600},
		}, []string{"provider"}),
	}
	m.events = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "arauto_order_events_total",
		Help: "Order events published, by the status that the payment moved to.",
	}, []string{"provider", "status"})
	m.repairs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "arauto_sweep_repaired_total",
		Help: "Transitions that only a sweep's look-up has found: each is a webhook that was lost.",
	}, []string{"provider"})
	m.unreadable = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "arauto_unreadable_events_total",
		Help: "Messages of ORDERS that do not decode and have a dead letter, each counted once. Raise an alarm.",
	})
	r.MustRegister(m.outcomes, m.events, m.seconds, m.repairs, m.unreadable)
	for _, provider := range providers {
		for _, o := range append(order.Outcomes(), outcomeFolded, outcomeGone, outcomeForgotten, outcomeUnreadable) {
			m.outcomes.WithLabelValues(provider, string(o))
		}
		for _, kind := range order.Kinds() {
			for _, status := range kind.Statuses() {
				m.events.WithLabelValues(provider, string(status))
			}
		}
		m.seconds.WithLabelValues(provider)
		m.repairs.WithLabelValues(provider)
	}
	return m
}

// outcome counts an observation.
func (m *Metrics) outcome(provider string, o order.Outcome) {
	m.outcomes.WithLabelValues(provider, string(o)).Inc()
}

// published counts an event.
func (m *Metrics) published(provider string, status order.Status) {
	m.events.WithLabelValues(provider, string(status)).Inc()
}

// webhookToEvent measures the time from a webhook to its event.
func (m *Metrics) webhookToEvent(span *spans.Span, provider string, took time.Duration) {
	span.Observe(m.seconds.WithLabelValues(provider), took.Seconds())
}

// repaired counts a transition that a sweep has found.
func (m *Metrics) repaired(provider string) { m.repairs.WithLabelValues(provider).Inc() }
