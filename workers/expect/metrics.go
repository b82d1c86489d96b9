package expect

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"arauto/schemas/expectation"
)

// Metrics counts expectations and outcomes. Each copy of the role measures the open ones,
// so take their maximum.
type Metrics struct {
	providers []string // Those with series.

	open      *prometheus.GaugeVec
	overdue   *prometheus.GaugeVec
	outcomes  *prometheus.CounterVec
	scheduled *prometheus.CounterVec
	failed    prometheus.Counter
}

// NewMetrics registers the metrics with r, with every series of the providers at 0.
func NewMetrics(r prometheus.Registerer, providers ...string) *Metrics {
	m := &Metrics{
		providers: providers,
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_expectations_open", Help: "Expected payments that are not settled.",
		}, []string{"provider"}),
		overdue: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_expectation_overdue_seconds",
			Help: "How long ago the deadline was of the expected payment that is past it for longest and not settled. 0 for none.",
		}, []string{"provider"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_expectation_outcomes_total", Help: "What came of expected payments, by outcome.",
		}, []string{"provider", "outcome"}),
		scheduled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_expectation_lookups_scheduled_total", Help: "Look-ups scheduled for expected payments.",
		}, []string{"provider"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arauto_expectation_failures_total", Help: "Judgements of expectations that failed, and are made again.",
		}),
	}
	r.MustRegister(m.open, m.overdue, m.outcomes, m.scheduled, m.failed)
	for _, p := range providers {
		m.open.WithLabelValues(p)
		m.overdue.WithLabelValues(p)
		m.scheduled.WithLabelValues(p)
		for _, word := range expectation.Words() {
			m.outcomes.WithLabelValues(p, string(word))
		}
	}
	return m
}

// other takes the place of a provider that an announcer made up: each name would be one more
// series for as long as the process runs.
const other = "other"

// published counts an outcome.
func (m *Metrics) published(o expectation.Outcome) {
	provider := o.Provider
	if !slices.Contains(m.providers, provider) {
		provider = other
	}
	m.outcomes.WithLabelValues(provider, string(o.Outcome)).Inc()
}
