package lookup

import (
	"time"

	"arauto/schemas/record"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts look-ups, their results and their outcomes.
type Metrics struct {
	lookups   *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	answers   *prometheus.CounterVec
	outcomes  *prometheus.CounterVec
	conflicts *prometheus.CounterVec
	lateness  *prometheus.HistogramVec
}

// NewMetrics registers the metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	buckets := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	m := &Metrics{
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_lookups_total",
			Help: "Look-ups sent to providers, by result: answered, or the kind of failure.",
		}, []string{"provider", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "arauto_lookup_seconds", Help: "How long providers took to answer.", Buckets: buckets,
		}, []string{"provider"}),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_lookup_answers_total",
			Help: "Answers of providers, by whether they know the payment: known or unknown.",
		}, []string{"provider", "account", "payment"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_lookup_outcomes_total",
			Help: "Notifications and due look-ups by outcome: observed, superseded, scheduled, dead_letter or redundant.",
		}, []string{"provider", "outcome"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_lookup_conflicts_total",
			Help: "Answers that were not appended because another look-up of the payment was first.",
		}, []string{"provider"}),
		lateness: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "arauto_lookup_schedule_lag_seconds", Help: "How long after its due time a scheduled look-up began.", Buckets: buckets,
		}, []string{"provider"}),
	}
	r.MustRegister(m.lookups, m.seconds, m.answers, m.outcomes, m.conflicts, m.lateness)
	return m
}

// expect sets a provider's metrics to 0 at start: a rate over a counter that appears
// with the first failure misses that failure.
func (m *Metrics) expect(provider string) {
	m.lookups.WithLabelValues(provider, resultAnswered)
	for _, cause := range record.Failures() {
		m.lookups.WithLabelValues(provider, string(cause))
	}
	for _, outcome := range []string{outcomeObserved, outcomeSuperseded, outcomeScheduled, outcomeDead, outcomeRedundant} {
		m.outcomes.WithLabelValues(provider, outcome)
	}
	m.conflicts.WithLabelValues(provider)
	m.seconds.WithLabelValues(provider)
	m.lateness.WithLabelValues(provider)
}

// resultAnswered is the result of a look-up that got an answer. The others are kinds of
// failure.
const resultAnswered = "answered"

// The values of the label payment.
const (
	knownPayment   = "known"
	unknownPayment = "unknown"
)

// expectAccount sets an account's metrics to 0 at start, so that an alarm sees the
// first unknown payment.
func (m *Metrics) expectAccount(provider, account string) {
	for _, payment := range []string{knownPayment, unknownPayment} {
		m.answers.WithLabelValues(provider, account, payment)
	}
}

// countAnswer counts an answer about a known or an unknown payment of the account.
func (m *Metrics) countAnswer(provider, account, payment string) {
	m.answers.WithLabelValues(provider, account, payment).Inc()
}

// asked counts a look-up and its duration.
func (m *Metrics) asked(provider, result string, took time.Duration) {
	m.lookups.WithLabelValues(provider, result).Inc()
	m.seconds.WithLabelValues(provider).Observe(took.Seconds())
}

// outcome counts a handled message.
func (m *Metrics) outcome(provider, outcome string) {
	m.outcomes.WithLabelValues(provider, outcome).Inc()
}

// countConflict counts an answer that was not appended because another one was first.
func (m *Metrics) countConflict(provider string) { m.conflicts.WithLabelValues(provider).Inc() }

// fired records how late a scheduled look-up began.
func (m *Metrics) fired(provider string, late time.Duration) {
	m.lateness.WithLabelValues(provider).Observe(late.Seconds())
}
