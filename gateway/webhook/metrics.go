package webhook

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts webhooks. Every label value is from a closed list, so that clients cannot
// add series.
type metrics struct {
	webhooks    *prometheus.CounterVec
	durable     *prometheus.HistogramVec
	failures    *prometheus.CounterVec
	credentials *prometheus.CounterVec
	panics      prometheus.Counter

	limitedClients *prometheus.CounterVec
}

// ordinals are the label values of arauto_webhook_credentials_total, in the order of an
// account's credentials. The second credential is for a rotation.
var ordinals = [...]string{"first", "second"}

// newMetrics registers the metrics with every series, because increase() over a counter
// that appears with its first failure misses that failure.
func newMetrics(registerer prometheus.Registerer, providers []string) (*metrics, error) {
	m := &metrics{
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_webhooks_total",
			Help: "Webhooks answered, by provider (none: unknown), result (accepted, or the error code) and, for a refused one, the rule that it breaks.",
		}, []string{"provider", "result", "rule"}),
		durable: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "arauto_webhook_durable_seconds",
			Help:    "Time from a request's start until the broker confirmed that its notification is stored.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .2, .4, .8, 1.6},
		}, []string{"provider"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_publish_failures_total",
			Help: "Notifications that could not be stored and were answered with 503, by class.",
		}, []string{"class"}),
		credentials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_webhook_credentials_total",
			Help: "Webhooks that authenticated, by provider, account and which of the account's credentials they came with (first, second).",
		}, []string{"provider", "account", "credential"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arauto_webhook_panics_total",
			Help: "Webhooks that made our code panic and were answered with 503.",
		}),
		limitedClients: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_webhook_clients_limited_total",
			Help: "Failed authentications that were answered with 503, because the client's address had too many (gateway.authentication_failures), by provider.",
		}, []string{"provider"}),
	}
	for _, collector := range []prometheus.Collector{m.webhooks, m.durable, m.failures, m.credentials, m.panics, m.limitedClients} {
		if err := registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("register gateway metrics: %w", err)
		}
	}
	for _, c := range codes() {
		for _, rule := range c.rules() {
			m.webhooks.WithLabelValues(none, c.label(), string(rule))
			for _, name := range providers {
				m.webhooks.WithLabelValues(name, c.label(), string(rule))
			}
		}
	}
	for _, name := range providers {
		m.durable.WithLabelValues(name)
		m.limitedClients.WithLabelValues(name)
	}
	for _, name := range failureClasses() {
		m.failures.WithLabelValues(name)
	}
	return m, nil
}

// authenticated returns, for each of a provider's accounts, a counter for each credential
// that an account may have. The series of a second credential exists before the account
// has it.
func (m *metrics) authenticated(provider string, accounts map[string][]string) map[string][]prometheus.Counter {
	all := make(map[string][]prometheus.Counter, len(accounts))
	for account := range accounts {
		for _, ordinal := range ordinals {
			all[account] = append(all[account], m.credentials.WithLabelValues(provider, account, ordinal))
		}
	}
	return all
}
