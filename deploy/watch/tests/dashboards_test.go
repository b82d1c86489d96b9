package watch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/util/teststorage"
)

// dashboard is what these tests know of a dashboard of Grafana.
type dashboard struct {
	UID         string
	Title       string
	Description string
	Templating  struct{ List []variable }
	Panels      []panel
}

type variable struct{ Name, Type, Query string }

type panel struct {
	ID          int
	Title       string
	Description string
	Datasource  struct{ UID string }
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct{ Expr, LegendFormat string }
}

// dashboards reads all files, by name.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob("../dashboards/*.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("the dashboards are %v (%v), want at least four", files, err)
	}
	all := map[string]dashboard{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = d
	}
	return all
}

func TestDashboardsAreWhole(t *testing.T) {
	t.Parallel()
	for name, d := range dashboards(t) {
		if d.UID != "arauto-"+name || d.Title == "" || d.Description == "" {
			t.Errorf("%s has the uid %q, the title %q and the description %q", name, d.UID, d.Title, d.Description)
		}
		ids, titles, taken := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
		for _, p := range d.Panels {
			if ids[p.ID] || titles[p.Title] || p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d %q shares its id or title, or lacks a description, a unit or a query", name, p.ID, p.Title)
			}
			ids[p.ID], titles[p.Title] = true, true
			if p.Datasource.UID != "${datasource}" {
				t.Errorf("%s: %s has the data source %q, which is not the variable", name, p.Title, p.Datasource.UID)
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s: %s lies over %q or beside the screen", name, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

var legendLabel = regexp.MustCompile(`{{(\w+)}}`)

// question is one query of a panel, with its variables filled in.
type question struct {
	of     string
	expr   string
	labels []string // Of its legend.
}

// TestNoPanelIsWithoutData starts the real system with its demo, scrapes every process as
// Prometheus does, and runs every query of every dashboard until each has data.
func TestNoPanelIsWithoutData(t *testing.T) {
	t.Parallel()
	s := start(t)
	processes, store := s.processes(), teststorage.New(t)
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, maxSamples)
	at := time.Unix(1_800_000_000, 0)
	ask := func(expr string) (promql.Vector, error) {
		q, err := engine.NewInstantQuery(s.ctx, store, nil, expr, at)
		if err != nil {
			return nil, err
		}
		defer q.Close()
		result := q.Exec(s.ctx)
		if warnings, infos := result.Warnings.AsStrings(expr, 9, 9); len(warnings)+len(infos) > 0 {
			return nil, fmt.Errorf("Prometheus warns: %v %v", warnings, infos)
		}
		v, err := result.Vector()
		return slices.Clone(v), err
	}
	for {
		for job, base := range processes {
			s.scrape(store, job, base, at)
		}
		var missing []error
		for _, q := range questions(t, ask) {
			missing = append(missing, q.check(ask))
		}
		err := errors.Join(missing...)
		if err == nil {
			break
		}
		s.pause("data in every panel", err)
		at = at.Add(15 * time.Second)
	}
	for name, a := range alarms(t) {
		if _, err := ask(a.Query().String()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// metricName finds the metrics of a query.
var metricName = regexp.MustCompile(`\barauto_\w+`)

// check reports what is wrong: a metric without a series, which "or vector(0)" would hide, no
// number in the answer, or a label of the legend that it has not.
func (q question) check(ask func(string) (promql.Vector, error)) error {
	for _, name := range metricName.FindAllString(q.expr, -1) {
		if series, err := ask(name); err != nil || len(series) == 0 {
			return errors.Join(fmt.Errorf("%s: %s has no series", q.of, name), err)
		}
	}
	answer, err := ask(q.expr)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", q.of, q.expr, err)
	}
	if !slices.ContainsFunc(answer, func(s promql.Sample) bool { return !math.IsNaN(s.F) }) {
		return fmt.Errorf("%s: %s has no data", q.of, q.expr)
	}
	for _, s := range answer {
		for _, label := range q.labels {
			if !s.Metric.Has(label) {
				return fmt.Errorf("%s: the answer %s lacks the label %s of the legend", q.of, s.Metric, label)
			}
		}
	}
	return nil
}

var labelValues = regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)

// questions are the queries of all panels, for each value of a dashboard's variable.
func questions(t *testing.T, ask func(string) (promql.Vector, error)) []question {
	t.Helper()
	var all []question
	for name, d := range dashboards(t) {
		values := map[string]string{"none": ""}
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			m := labelValues.FindStringSubmatch(v.Query)
			if m == nil {
				t.Fatalf("%s: the variable %s is %q", name, v.Name, v.Query)
			}
			answer, err := ask(fmt.Sprintf("group by (%s) (%s)", m[2], m[1]))
			if err != nil || len(answer) == 0 {
				t.Fatalf("%s: the variable %s has no value: %v", name, v.Name, err)
			}
			values = map[string]string{}
			for _, one := range answer {
				values[one.Metric.Get(m[2])] = "$" + v.Name
			}
		}
		for value, of := range values {
			for _, p := range d.Panels {
				for _, target := range p.Targets {
					q := question{of: name + ", " + p.Title, expr: strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")}
					if of != "" {
						q.of, q.expr = q.of+" of "+value, strings.ReplaceAll(q.expr, of, value)
					}
					for _, m := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
						q.labels = append(q.labels, m[1])
					}
					all = append(all, q)
				}
			}
		}
	}
	return all
}

// shared finds the gauges that several processes measure of one thing, with the operator
// that they stand in.
var shared = regexp.MustCompile(`(?:(\w+)(?: by \([^)]*\))? ?\()?arauto_(?:consumer_(?:pending_messages|ack_pending_messages|redelivered_messages|waiting_requests|paused|oldest_age_seconds)|` +
	`circuit_open|expectations_open|expectation_overdue_seconds|stream_fill_ratio|notifications_fill_ratio|scheduled_lookups|open_dead_letters|payments|sweep_oldest_stuck_schedule_seconds)\b`)

// TestWhatSeveralProcessesMeasureIsNotAddedUp keeps a second lookup or sweep from doubling
// what dashboards and alarms show.
func TestWhatSeveralProcessesMeasureIsNotAddedUp(t *testing.T) {
	t.Parallel()
	queries := map[string]string{}
	for name, d := range dashboards(t) {
		for _, p := range d.Panels {
			for i, target := range p.Targets {
				queries[fmt.Sprintf("%s, %s, query %d", name, p.Title, i)] = target.Expr
			}
		}
	}
	for name, a := range alarms(t) {
		queries[name] = a.Query().String()
	}
	found := 0
	for of, query := range queries {
		for _, m := range shared.FindAllStringSubmatch(query, -1) {
			found++
			if !slices.Contains([]string{"max", "max_over_time", "absent"}, m[1]) {
				t.Errorf("%s: %s does not take the maximum", of, query)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d such gauges were found", found)
	}
}
