// Package watch_test runs the alert rules and the dashboards by Prometheus' own engine.
package watch_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

const ruleFile = "../alerts.yaml"

// alarms reads the rule file as Prometheus does, with no alert active.
func alarms(t *testing.T) map[string]*rules.AlertingRule {
	t.Helper()
	m := rules.NewManager(&rules.ManagerOptions{
		Context: t.Context(), Logger: promslog.NewNopLogger(), Parser: parser.NewParser(parser.Options{}),
	})
	groups, errs := m.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, ruleFile)
	for _, err := range errs {
		t.Fatal(err)
	}
	all := map[string]*rules.AlertingRule{}
	for _, g := range groups {
		for _, r := range g.Rules() {
			all[r.Name()] = r.(*rules.AlertingRule)
		}
	}
	return all
}

// alarm is alarms for one of them.
func alarm(t *testing.T, name string) *rules.AlertingRule {
	t.Helper()
	a := alarms(t)[name]
	if a == nil {
		t.Fatalf("the rule file has no alarm %s", name)
	}
	return a
}

// maxSamples bounds a query, as Prometheus itself does.
const maxSamples = 50_000_000

// lastMinute is when an evaluation ends.
const lastMinute = 150

// evaluate runs a rule once a minute over series that have a sample a minute. It returns
// the labels of the alerts that fire, by minute.
func evaluate(t *testing.T, a *rules.AlertingRule, series string) map[int][]string {
	t.Helper()
	load := "load 1m\n"
	for line := range strings.Lines(series) {
		if line = strings.TrimSpace(line); line != "" {
			load += "  " + line + "\n"
		}
	}
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, maxSamples)
	query := rules.EngineQueryFunc(engine, promqltest.LoadedStorage(t, load))
	fires := map[int][]string{}
	for minute := range lastMinute {
		if _, err := a.Eval(context.Background(), 0, time.Unix(0, 0).Add(time.Duration(minute)*time.Minute), query, nil, 0); err != nil {
			t.Fatalf("%s at minute %d: %v", a.Name(), minute, err)
		}
		for _, active := range a.ActiveAlerts() {
			if active.State == rules.StateFiring {
				fires[minute] = append(fires[minute], labels.NewBuilder(active.Labels).Del("alertname", "severity").Labels().String())
			}
		}
		slices.Sort(fires[minute])
	}
	return fires
}

func TestEachAlarmFiresAfterItsTimeAndResolves(t *testing.T) {
	t.Parallel()
	for _, s := range stories {
		t.Run(s.alarm, func(t *testing.T) {
			t.Parallel()
			fires := evaluate(t, alarm(t, s.alarm), s.fires)
			for minute := range lastMinute {
				want := []string(nil)
				if minute >= s.from && minute < s.until {
					want = slices.Sorted(slices.Values(s.as))
				}
				if !slices.Equal(fires[minute], want) {
					t.Errorf("at minute %d it fires as %v, want %v", minute, fires[minute], want)
				}
			}
		})
	}
}

func TestNoAlarmFiresBelowItsThreshold(t *testing.T) {
	t.Parallel()
	for _, s := range stories {
		t.Run(s.alarm, func(t *testing.T) {
			t.Parallel()
			if fires := evaluate(t, alarm(t, s.alarm), s.quiet); len(fires) > 0 {
				t.Errorf("it fires at %v", slices.Sorted(maps.Keys(fires)))
			}
		})
	}
}

func TestEveryAlarmHasAStory(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	for _, s := range stories {
		told[s.alarm] = true
	}
	for name := range alarms(t) {
		if !told[name] {
			t.Errorf("%s is in the rule file and no test makes it fire", name)
		}
	}
}
