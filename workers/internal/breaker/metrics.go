package breaker

import "github.com/prometheus/client_golang/prometheus"

// Metrics says which circuit breakers are open. OPERATING.md has the alarms.
type Metrics struct {
	open     *prometheus.GaugeVec
	openings *prometheus.CounterVec
	paused   *prometheus.GaugeVec
	pauses   *prometheus.CounterVec
}

// NewMetrics registers the metrics with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	labels, hosts := []string{"provider", "account"}, []string{"provider", "host"}
	m := &Metrics{
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_circuit_open",
			Help: "1 while the account's look-ups are stopped: the provider refuses its credential, or an operator said so.",
		}, labels),
		openings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_circuit_openings_total",
			Help: "Times that this process opened the account's circuit because its credential was refused.",
		}, labels),
		paused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_provider_paused",
			Help: "1 while this process makes no look-ups at a host of the provider, because it gives no usable answer.",
		}, hosts),
		pauses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_provider_pauses_total",
			Help: "Times that this process has opened the circuit of a host, again after a failed probe included.",
		}, hosts),
	}
	r.MustRegister(m.open, m.openings, m.paused, m.pauses)
	return m
}

// Expect sets an account's metrics to 0 at start, so that an alarm can tell a closed
// circuit from an unknown one.
func (m *Metrics) Expect(provider, account string) {
	m.open.WithLabelValues(provider, account)
	m.openings.WithLabelValues(provider, account)
}

// gauge is the value of a gauge that is 1 while something holds.
var gauge = map[bool]float64{true: 1}
