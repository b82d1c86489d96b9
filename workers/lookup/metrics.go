package lookup

import (
	"time"

	"arauto/schemas/record"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts look-ups and what they came to.
type Metrics struct {
	lookups   *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	answers   *prometheus.CounterVec
	outcomes  *prometheus.CounterVec
	conflicts *prometheus.CounterVec
	lateness  *prometheus.HistogramVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	buckets := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	m := &Metrics{
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_lookups_total",
			Help: "Questions put to providers, by result: answered, or the cause of the failure.",
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
			Help: "Notifications and due look-ups by what they came to: observed, superseded, parked, dead_letter or overtaken.",
		}, []string{"provider", "outcome"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_lookup_conflicts_total",
			Help: "Answers that the guard refused because somebody else had observed the payment meanwhile.",
		}, []string{"provider"}),
		lateness: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "arauto_lookup_schedule_lag_seconds", Help: "How long after it was due a parked look-up began.", Buckets: buckets,
		}, []string{"provider"}),
	}
	r.MustRegister(m.lookups, m.seconds, m.answers, m.outcomes, m.conflicts, m.lateness)
	return m
}

// expect makes the numbers of a provider be there from the start: a rate over a
// counter that appears with the first failure misses that failure.
func (m *Metrics) expect(provider string) {
	m.lookups.WithLabelValues(provider, resultAnswered)
	for _, cause := range record.Failures() {
		m.lookups.WithLabelValues(provider, string(cause))
	}
	for _, outcome := range []string{outcomeObserved, outcomeSuperseded, outcomeParked, outcomeDead, outcomeOvertaken} {
		m.outcomes.WithLabelValues(provider, outcome)
	}
	m.conflicts.WithLabelValues(provider)
	m.seconds.WithLabelValues(provider)
	m.lateness.WithLabelValues(provider)
}

// resultAnswered is the result of a question that got an answer. The others are causes.
const resultAnswered = "answered"

// What the label payment of an answer says.
const (
	knownPayment   = "known"
	unknownPayment = "unknown"
)

// expectAccount makes the numbers of an account be there from the start, so that
// an alarm sees the first unknown payment.
func (m *Metrics) expectAccount(provider, account string) {
	for _, payment := range []string{knownPayment, unknownPayment} {
		m.answers.WithLabelValues(provider, account, payment)
	}
}

// countAnswer counts an answer about a payment of the account, known or unknown.
func (m *Metrics) countAnswer(provider, account, payment string) {
	m.answers.WithLabelValues(provider, account, payment).Inc()
}

func (m *Metrics) asked(provider, result string, took time.Duration) {
	m.lookups.WithLabelValues(provider, result).Inc()
	m.seconds.WithLabelValues(provider).Observe(took.Seconds())
}

func (m *Metrics) outcome(provider, outcome string) {
	m.outcomes.WithLabelValues(provider, outcome).Inc()
}

func (m *Metrics) countConflict(provider string) { m.conflicts.WithLabelValues(provider).Inc() }

func (m *Metrics) fired(provider string, late time.Duration) {
	m.lateness.WithLabelValues(provider).Observe(late.Seconds())
}
