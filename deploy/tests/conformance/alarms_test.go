package conformance_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"arauto/deploy/runtime/testbench"
)

var writeDocuments = flag.Bool("write", false, "write the generated parts of the documents")

// alarm is one rule of deploy/watch/alerts.yaml.
type alarm struct {
	Name        string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         time.Duration     `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// alarms reads the rule file, and refuses what is not in alarm.
func alarms(t *testing.T) []alarm {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string  `yaml:"name"`
			Rules []alarm `yaml:"rules"`
		} `yaml:"groups"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(read(t, "deploy/watch/alerts.yaml"))))
	decoder.KnownFields(true)
	testbench.Must(t, decoder.Decode(&file))
	var all []alarm
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 40 {
		t.Fatalf("only %d rules were found", len(all))
	}
	return all
}

// anchor is the address of the alarm's row in OPERATING.md.
func (a alarm) anchor() string { return strings.ToLower(a.Name) }

// row is the alarm's line in the table.
func (a alarm) row() string {
	after := ""
	if a.For > 0 {
		after = fmt.Sprintf(" after %d min", int(a.For.Minutes()))
	}
	expr := strings.ReplaceAll(strings.Join(strings.Fields(a.Expr), " "), "|", `\|`)
	return fmt.Sprintf("| <a id=%q></a>`%s`: %s%s | `%s` | %s %s | %s |\n", a.anchor(), a.Name, a.Labels["severity"], after,
		expr, a.Annotations["summary"], a.Annotations["description"], a.Annotations["action"])
}

const (
	alarmsBegin = "<!-- alarms: `make docs` writes them from watch/alerts.yaml -->\n"
	alarmsEnd   = "<!-- end of the alarms -->\n"
)

// TestAlarmTableIsTheRuleFile holds the table of OPERATING.md to the rule file. With
// -write it writes the table.
func TestAlarmTableIsTheRuleFile(t *testing.T) {
	t.Parallel()
	want := "| alarm | when | it means | do |\n|---|---|---|---|\n"
	for _, a := range alarms(t) {
		want += a.row()
	}
	holds(t, "deploy/OPERATING.md", alarmsBegin, want, alarmsEnd)
}

// holds wants a document to have a generated part between two lines. With -write it
// writes the part.
func holds(t *testing.T, document, begin, want, end string) {
	t.Helper()
	before, rest, begun := strings.Cut(read(t, document), begin)
	have, after, ended := strings.Cut(rest, end)
	switch {
	case !begun || !ended:
		t.Fatalf("%s has no lines %q and %q", document, begin, end)
	case have == want:
	case *writeDocuments:
		testbench.Must(t, os.WriteFile(filepath.Join(root, document), []byte(before+begin+want+end+after), 0o600))
	default:
		t.Errorf("a part of %s is not what the code says; `make docs` writes it. Want:\n%s", document, want)
	}
}

func TestAlarmsSayWhatTheyMeanAndWhatToDo(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range alarms(t) {
		if seen[a.Name] || !regexp.MustCompile(`^Arauto[A-Z][A-Za-z]+$`).MatchString(a.Name) {
			t.Errorf("%s is there twice, or its name does not begin with Arauto", a.Name)
		}
		seen[a.Name] = true
		if len(a.Labels) != 1 || !slices.Contains([]string{"page", "ticket"}, a.Labels["severity"]) {
			t.Errorf("%s has the labels %v, want the severity page or ticket alone", a.Name, a.Labels)
		}
		if a.For%time.Minute != 0 {
			t.Errorf("%s has a for of %s, which the table cannot say in minutes", a.Name, a.For)
		}
		for _, name := range []string{"summary", "description", "action"} {
			if text := a.Annotations[name]; text == "" || strings.ContainsAny(text, "|\n") {
				t.Errorf("%s has the %s %q, which fits no cell of a table", a.Name, name, text)
			}
		}
		if got, want := a.Annotations["runbook_url"], "deploy/OPERATING.md#"+a.anchor(); got != want {
			t.Errorf("%s has the runbook_url %q, want %q", a.Name, got, want)
		}
	}
}

var (
	alarmSelector = regexp.MustCompile(`\b((?:arauto|process)_[a-z_]+)(?:\{([^}]*)\})?`)
	alarmMatcher  = regexp.MustCompile(`([a-z_]+)(=~|!~|!=|=)"([^"]*)"`)
)

// onlyWithTLS are metrics of a gateway with gateway.tls, which the deployment as written
// has not. The tests of gateway/webhook have them.
const onlyWithTLS = "arauto_tls_"

// checkAlarms holds the alert rules to what fresh processes show: each metric is there,
// with every label value that a rule names, before anything has happened. Of a counter
// that appears with the first failure increase() misses that failure.
func checkAlarms(t *testing.T, metrics string) {
	t.Helper()
	for _, a := range alarms(t) {
		selectors := alarmSelector.FindAllStringSubmatch(a.Expr, -1)
		if len(selectors) == 0 {
			t.Errorf("%s names no metric", a.Name)
		}
		for _, s := range selectors {
			if strings.HasPrefix(s[1], onlyWithTLS) {
				continue
			}
			series := regexp.MustCompile(`(?m)^`+s[1]+`(?:\{.*\})? .*$`).FindAllString(metrics, -1)
			if len(series) == 0 {
				t.Errorf("a fresh process does not show %s of %s", s[1], a.Name)
			}
			for _, m := range alarmMatcher.FindAllStringSubmatch(s[2], -1) {
				for value := range strings.SplitSeq(m[3], "|") {
					if label := fmt.Sprintf("%s=%q", m[1], value); !strings.Contains(strings.Join(series, "\n"), label) {
						t.Errorf("a fresh process does not show %s with %s of %s", s[1], label, a.Name)
					}
				}
			}
		}
	}
}

// levels waits until sweep has measured once, and returns all of its metrics.
func (p *launched) levels(ctx context.Context) string {
	p.t.Helper()
	metrics := ""
	testbench.Until(p.t, "sweep measures", func() bool {
		metrics = p.get(ctx, "/metrics")
		return strings.Contains(metrics, "arauto_open_dead_letters{")
	})
	return metrics
}
