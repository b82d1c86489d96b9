package watch_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"
)

// watcher is a Prometheus with a turned clock: it scrapes the running processes, and says of
// each scrape that it was a minute or more after the one before.
type watcher struct {
	t      *testing.T
	plant  *plant
	store  *teststorage.TestStorage
	query  rules.QueryFunc
	rules  map[string]*rules.AlertingRule
	at     time.Time
	series map[string]map[string]labels.Labels // Of the last scrape, by role.

	scraped []string        // Roles.
	fired   map[string]bool // The alarms that have fired since their break began.
	longest time.Duration   // Of real time, for what is awaited.
}

func newWatcher(t *testing.T, p *plant) *watcher {
	t.Helper()
	w := &watcher{t: t, plant: p, store: teststorage.New(t), rules: alarms(t), at: time.Now().Truncate(time.Minute), series: map[string]map[string]labels.Labels{}}
	w.scraped, w.fired, w.longest = slices.Clone(roles), map[string]bool{}, longest
	w.query = rules.EngineQueryFunc(promqltest.NewTestEngine(t, false, 5*time.Minute, maxSamples), w.store)
	return w
}

// round turns the clock, scrapes every process and evaluates every rule. It returns the
// names of the alarms that fire.
func (w *watcher) round(turn time.Duration) []string {
	w.t.Helper()
	w.at = w.at.Add(turn)
	answers := make([]answer, len(w.scraped))
	var all sync.WaitGroup
	for i, role := range w.scraped { // At once: without a broker each takes seconds.
		if w.plant.running[role] == nil {
			continue // The test holds the socket of a process that was killed, so that it would take the connection.
		}
		all.Go(func() {
			a := &answers[i]
			a.status, a.body, a.contentType = w.plant.get("http://" + w.plant.address(role+"/admin") + "/metrics")
		})
	}
	all.Wait()
	for i, role := range w.scraped {
		w.keep(role, answers[i])
	}
	firing := map[string]bool{}
	for name, rule := range w.rules {
		if _, err := rule.Eval(context.Background(), 0, w.at, w.query, nil, 0); err != nil {
			w.t.Fatalf("%s: %v", name, err)
		}
		for _, a := range rule.ActiveAlerts() {
			firing[name] = firing[name] || a.State == rules.StateFiring
		}
	}
	maps.DeleteFunc(firing, func(_ string, fires bool) bool { return !fires })
	maps.Copy(w.fired, firing)
	return slices.Sorted(maps.Keys(firing))
}

// answer is that of a process to a scrape; status is 0 without one.
type answer struct {
	status      int
	body        []byte
	contentType string
}

// keep stores the metrics of a process. What it does not show any more is marked as
// stale, as Prometheus does, also if it does not answer.
func (w *watcher) keep(role string, of answer) {
	w.t.Helper()
	base := w.plant.address(role + "/admin")
	now, appender := map[string]labels.Labels{}, w.store.AppenderV2(context.Background())
	add := func(l labels.Labels, v float64) {
		if _, err := appender.Append(0, l, 0, w.at.UnixMilli(), v, nil, nil, storage.AOptions{}); err != nil {
			w.t.Fatalf("store %s: %v", l, err)
		}
	}
	if of.status == http.StatusOK {
		if !strings.HasPrefix(of.contentType, "application/openmetrics-text") {
			w.t.Fatalf("%s answers a scrape with %s", role, of.contentType)
		}
		parser, err := textparse.New(of.body, of.contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
		for err == nil {
			var entry textparse.Entry
			if entry, err = parser.Next(); err != nil || entry != textparse.EntrySeries {
				continue
			}
			var l labels.Labels
			_, _, v := parser.Series()
			parser.Labels(&l)
			l = labels.NewBuilder(l).Set("job", role).Set("instance", base).Labels()
			now[l.String()] = l
			add(l, v)
		}
		if !errors.Is(err, io.EOF) {
			w.t.Fatalf("metrics of %s: %v\n%s", role, err, bytes.TrimSpace(of.body))
		}
	}
	for name, l := range w.series[role] {
		if _, there := now[name]; !there {
			add(l, math.Float64frombits(value.StaleNaN))
		}
	}
	w.series[role] = now
	if err := appender.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

const (
	pollEvery = 100 * time.Millisecond
	longest   = 100 * time.Second // Of real time, for what takes no minutes and a busy machine is late with.
)

// await turns the clock by a step again and again, until met is true of what fires.
func (w *watcher) await(what string, step time.Duration, met func(firing []string) bool) {
	w.t.Helper()
	tick, late := time.NewTicker(pollEvery), time.After(w.longest)
	defer tick.Stop()
	for {
		firing := w.round(step)
		if met(firing) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			w.t.Fatalf("waited in vain for %s; there fire %v, and have fired %v", what, firing, slices.Sorted(maps.Keys(w.fired)))
		}
	}
}

// fires waits until each of the alarms has fired. again is what goes on meanwhile.
func (w *watcher) fires(names []string, again func()) {
	w.t.Helper()
	w.await(strings.Join(names, ", "), time.Minute, func([]string) bool {
		again()
		return !slices.ContainsFunc(names, func(name string) bool { return !w.fired[name] })
	})
}

// ends waits until no alarm fires. Dead letters end by an operator's command alone.
func (w *watcher) ends() {
	w.t.Helper()
	w.await("every alarm to end", 4*time.Minute, func(firing []string) bool {
		if slices.Contains(firing, "ArautoDeadLettersOpen") {
			w.plant.arauto("operator", "dead", "discard", "--all")
		}
		return len(firing) == 0
	})
}
