package consume

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts handled messages by result. A nil Metrics counts nothing.
type Metrics struct{ messages *prometheus.CounterVec }

// NewMetrics registers the counters with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{messages: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "arauto_messages_total",
		Help: "Messages handled by this process, by durable consumer and result: done, failed, interrupted, not_now, unacknowledged or fatal.",
	}, []string{"consumer", "result"})}
	r.MustRegister(m.messages)
	return m
}

// The results of a message.
const (
	resultDone           = "done"
	resultFailed         = "failed"
	resultInterrupted    = "interrupted"
	resultNotNow         = "not_now"
	resultUnacknowledged = "unacknowledged"
	resultFatal          = "fatal"
)

// expect sets a consumer's counters to 0 at start: a rate over a counter that appears
// with the first failure misses that failure.
func (m *Metrics) expect(consumer string) {
	if m == nil {
		return
	}
	for _, result := range []string{resultDone, resultFailed, resultInterrupted, resultNotNow, resultUnacknowledged, resultFatal} {
		m.messages.WithLabelValues(consumer, result)
	}
}

// handled counts one message.
func (m *Metrics) handled(consumer, result string) {
	if m != nil {
		m.messages.WithLabelValues(consumer, result).Inc()
	}
}
