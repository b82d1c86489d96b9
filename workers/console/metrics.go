package console

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ages are the gauges of how old the oldest facts are that the pages show. Both grow while the
// broker is away.
func (s *site) ages() []prometheus.Collector {
	gauge := func(part string, of func() time.Time) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "arauto_console_age_seconds", ConstLabels: prometheus.Labels{"part": part},
			Help: "How long ago the console had last read all that it shows, by part: index (of payments) or broker (streams, consumers, dead letters).",
		}, func() float64 { return s.Now().Sub(of()).Seconds() })
	}
	return []prometheus.Collector{
		gauge("index", func() time.Time { return s.follow.progress().Whole }),
		gauge("broker", s.watch.seenAt),
	}
}
