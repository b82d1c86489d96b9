package circuit

import (
	"github.com/prometheus/client_golang/prometheus"

	"arauto/schemas/record"
)

// Metrics says which circuit breakers are open. OPERATING.md has the alarms.
type Metrics struct {
	open     *prometheus.GaugeVec
	openings *prometheus.CounterVec
}

// NewMetrics registers the metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	labels := []string{"provider", "account"}
	m := &Metrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_circuit_open",
			Help: "1 while the account's look-ups are stopped: the provider refuses its credential, or an operator said so.",
		}, labels),
		openings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_circuit_openings_total",
			Help: "Times that this process opened the account's circuit because its credential was refused.",
		}, labels),
	}
	r.MustRegister(m.open, m.openings)
	return m
}

// Expect sets an account's metrics to 0 at start, so that an alarm can tell a closed
// circuit from an unknown one.
func (m *Metrics) Expect(provider, account string) {
	m.open.WithLabelValues(provider, account)
	m.openings.WithLabelValues(provider, account)
}

// state shows an account's circuit as open or closed.
func (m *Metrics) state(c record.Circuit) {
	value := 1.0
	if c.State == record.CircuitClosed {
		value = 0
	}
	m.open.WithLabelValues(c.Provider, c.Account).Set(value)
}
