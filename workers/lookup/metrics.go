package lookup

import (
	"arauto/schemas/record"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts look-ups, their results and their outcomes.
type Metrics struct {
	lookups   *prometheus.CounterVec
	answers   *prometheus.CounterVec
	outcomes  *prometheus.CounterVec
	conflicts *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	lateness  *prometheus.HistogramVec
}

// NewMetrics registers the metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"provider"}, labels...))
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		buckets := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"provider"})
		r.MustRegister(h)
		return h
	}
	return &Metrics{
		lookups: counter("arauto_lookups_total",
			"Look-ups sent to providers, by result: answered, or the kind of failure.", "result"),
		answers: counter("arauto_lookup_answers_total",
			"Answers of providers, by whether they know the payment: known or unknown.", "account", "payment"),
		outcomes: counter("arauto_lookup_outcomes_total",
			"Notifications and due look-ups by outcome: observed, superseded, scheduled, dead_letter, redundant or forgotten.", "outcome"),
		conflicts: counter("arauto_lookup_conflicts_total",
			"Answers that were not appended because another look-up of the payment was first."),
		seconds:  histogram("arauto_lookup_seconds", "How long providers took to answer."),
		lateness: histogram("arauto_lookup_schedule_lag_seconds", "How long after its due time a scheduled look-up began."),
	}
}

// resultAnswered is the result of a look-up that got an answer. The others are kinds of
// failure.
const resultAnswered = "answered"

// paymentLabels are the values of the label payment, by whether the provider knows it.
var paymentLabels = map[bool]string{true: "known", false: "unknown"}

// expect sets the metrics of a provider and its accounts to 0 at start: a rate over a
// counter that appears with the first failure misses that failure.
func (m *Metrics) expect(provider string, accounts []string) {
	m.lookups.WithLabelValues(provider, resultAnswered)
	for _, cause := range record.Failures() {
		m.lookups.WithLabelValues(provider, string(cause))
	}
	for _, outcome := range []string{outcomeObserved, outcomeSuperseded, outcomeScheduled, outcomeDead, outcomeRedundant, outcomeForgotten} {
		m.outcomes.WithLabelValues(provider, outcome)
	}
	for _, account := range accounts {
		for _, payment := range paymentLabels {
			m.answers.WithLabelValues(provider, account, payment)
		}
	}
	m.conflicts.WithLabelValues(provider)
	m.seconds.WithLabelValues(provider)
	m.lateness.WithLabelValues(provider)
}
