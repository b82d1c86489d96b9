package supervise

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// ownRole is the label value of the supervisor's own metrics and the name of
// its log.
const ownRole = "local"

// maxScrape bounds what is read of one child's metrics, in bytes.
const maxScrape = 16 << 20

// metrics are the supervisor's own.
type metrics struct {
	registry *prometheus.Registry
	up       *prometheus.GaugeVec
	restarts *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_child_up",
			Help: "Whether the child's metrics could be read for this answer.",
		}, []string{"child"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_child_restarts_total",
			Help: "How often the child was started again after it had ended by itself.",
		}, []string{"child"}),
	}
	m.registry.MustRegister(m.up, m.restarts,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// families are metrics by name.
type families map[string]*dto.MetricFamily

// write scrapes every target and writes all metrics, each with a label that
// names its role. A child that does not answer is missing in them, and its
// arauto_child_up is 0.
func (m *metrics) write(ctx context.Context, w io.Writer, client *http.Client, targets map[string]string) error {
	scraped := make(map[string]families, len(targets)+1)
	var mu sync.Mutex
	var wait sync.WaitGroup
	for role, url := range targets {
		wait.Go(func() {
			found, err := scrape(ctx, client, url+"/metrics")
			up := 1.0
			if err != nil {
				up = 0
			}
			m.up.WithLabelValues(role).Set(up)
			mu.Lock()
			defer mu.Unlock()
			scraped[role] = found
		})
	}
	wait.Wait()
	own, err := m.registry.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	scraped[ownRole] = families{}
	for _, family := range own {
		scraped[ownRole][family.GetName()] = family
	}
	merged := merge(scraped)
	encoder := expfmt.NewEncoder(w, textFormat)
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		if err := encoder.Encode(merged[name]); err != nil {
			return fmt.Errorf("write metrics: %w", err)
		}
	}
	return nil
}

// textFormat is Prometheus' plain text, which a person can read too.
var textFormat = expfmt.NewFormat(expfmt.TypeTextPlain)

func scrape(ctx context.Context, client *http.Client, url string) (families, error) {
	body, status, err := fetch(ctx, client, url, maxScrape)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("scrape metrics: status %d", status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	found, err := parser.TextToMetricFamilies(strings.NewReader(string(body)))
	if err != nil {
		return nil, fmt.Errorf("parse metrics: %w", err)
	}
	return found, nil
}

// merge puts the families of all roles together. Two roles may disagree about
// a family's type only if they run different versions; the first then wins.
func merge(scraped map[string]families) families {
	all := families{}
	for _, role := range slices.Sorted(maps.Keys(scraped)) {
		for name, family := range scraped[role] {
			for _, metric := range family.GetMetric() {
				metric.Label = labelled(metric.GetLabel(), role)
			}
			known, ok := all[name]
			switch {
			case !ok:
				all[name] = family
			case known.GetType() == family.GetType():
				known.Metric = append(known.Metric, family.GetMetric()...)
			}
		}
	}
	return all
}

// labelled adds the role. A label of that name is kept under another, as
// Prometheus does when it scrapes.
func labelled(labels []*dto.LabelPair, role string) []*dto.LabelPair {
	const name, kept = "role", "exported_role"
	for _, label := range labels {
		if label.GetName() == name {
			label.Name = new(kept)
		}
	}
	labels = append(labels, &dto.LabelPair{Name: new(name), Value: new(role)})
	slices.SortFunc(labels, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return labels
}
