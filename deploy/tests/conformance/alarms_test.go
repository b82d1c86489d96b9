package conformance_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

var (
	alarmRow   = regexp.MustCompile("(?m)^\\| `(arauto_[a-z_]+)` \\| ([^|]*) \\|")
	alarmLabel = regexp.MustCompile(`[a-z_]+="[^"]*"`)
)

// onlyWithTLS are metrics of a gateway with gateway.tls, which the deployment as written
// has not. The tests of gateway/webhook have them.
const onlyWithTLS = "arauto_tls_"

// checkAlarms holds the alarm table of OPERATING.md to what fresh processes show: each
// metric is there, with every label that the row names, before anything has happened.
// Of a counter that appears with the first failure increase() misses that failure.
func checkAlarms(t *testing.T, metrics string) {
	t.Helper()
	rows := alarmRow.FindAllStringSubmatch(read(t, "deploy/OPERATING.md"), -1)
	if len(rows) < 30 {
		t.Errorf("only %d rows were found in the alarm table", len(rows))
	}
	for _, row := range rows {
		if strings.HasPrefix(row[1], onlyWithTLS) {
			continue
		}
		series := regexp.MustCompile(`(?m)^`+row[1]+`(?:\{.*\})? .*$`).FindAllString(metrics, -1)
		if len(series) == 0 {
			t.Errorf("a fresh process does not show %s", row[1])
		}
		for _, label := range alarmLabel.FindAllString(row[2], -1) {
			if !strings.Contains(strings.Join(series, "\n"), label) {
				t.Errorf("a fresh process does not show %s with %s", row[1], label)
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
