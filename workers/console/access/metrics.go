package access

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// The outcomes of log-ins, and the reasons of refusals, so that every series is there from
// the start.
var (
	outcomes = []string{"accepted", "refused", "throttled", "busy"}
	reasons  = []string{"host", "origin", "token", "role", "proxy", "person"}
)

type metrics struct {
	logins   *prometheus.CounterVec
	refusals *prometheus.CounterVec
	sessions prometheus.GaugeFunc
}

func newMetrics(sessions func() float64) metrics {
	m := metrics{
		logins:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arauto_console_logins_total", Help: "Log-ins at the console by outcome: accepted, refused (a wrong name or password), throttled, busy."}, []string{"outcome"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arauto_console_refusals_total", Help: "Requests that the console refused, by reason: host, origin, token, role, proxy, person."}, []string{"reason"}),
		sessions: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "arauto_console_sessions", Help: "Sessions at the console, some of which may have ended by time."}, sessions),
	}
	for _, o := range outcomes {
		m.logins.WithLabelValues(o)
	}
	for _, r := range reasons {
		m.refusals.WithLabelValues(r)
	}
	return m
}

func (m metrics) register(registry prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.logins, m.refusals, m.sessions} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register metrics of access: %w", err)
		}
	}
	return nil
}

func (m metrics) refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

func (m metrics) login(outcome string) { m.logins.WithLabelValues(outcome).Inc() }
