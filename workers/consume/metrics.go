package consume

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts what became of messages. A nil Metrics counts nothing.
type Metrics struct{ messages *prometheus.CounterVec }

// NewMetrics registers the counters.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{messages: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "arauto_messages_total",
		Help: "Messages handled by this process, by durable consumer and result: done, failed, interrupted, not_now, unacknowledged or fatal.",
	}, []string{"consumer", "result"})}
	r.MustRegister(m.messages)
	return m
}

func (m *Metrics) handled(consumer, result string) {
	if m != nil {
		m.messages.WithLabelValues(consumer, result).Inc()
	}
}
