package measure

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"arauto/deploy/runtime/topology/jetstreamtest"
	"arauto/deploy/tools/bench/journey"
	"arauto/deploy/tools/bench/latency"
	"arauto/deploy/tools/bench/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// measured is a cell of one second with that many requests and that p99.
func measured(requests uint64, p99 time.Duration) cell {
	return cell{
		Report: load.Report{Window: time.Second, Accepted: latency.Summary{Count: requests, P50: time.Millisecond, P99: p99, P999: p99}},
		server: time.Second, broker: 2 * time.Second, load: time.Second, serverPeak: 20 << 20, brokerPeak: 30 << 20,
	}
}

// TestRatiosAreTakenRoundByRound: a machine that is slow in one round is slow
// for everybody in it.
func TestRatiosAreTakenRoundByRound(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	cells := map[system][]cell{
		ours:   {measured(4000, 10*ms), measured(500, 80*ms), measured(9000, 5*ms)},
		rivalA: {measured(2000, 20*ms), measured(100, 90*ms), measured(3000, 20*ms)},
		limitC: {measured(5000, 10*ms), measured(1000, 10*ms), measured(10000, 10*ms)},
	}
	want := []string{"64", "Arauto", "4,000", "1.00", "10.0", "10.0", "0.250 + 0.500", "25 %", "20, 30", "3.00", "0.50", "0.80"}
	if got := row(64, ours, cells); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := row(64, limitC, cells); got[7] != "-" || got[9] != "" {
		t.Errorf("the limit has no load and no ratio: %q", got)
	}

	cells[rivalA][1].Statuses = map[int]uint64{503: 1}
	if got := row(64, ours, cells); got[9] != "void" || got[10] != "void" || got[11] != "0.80" {
		t.Errorf("beside a void cell: %q", got)
	}
	if got := row(64, rivalA, cells); !slices.Equal(got, []string{"64", string(rivalA), "void: 1 × 503"}) {
		t.Errorf("a void cell: %q", got)
	}
}

func TestRateIsSteadyWhileNothingPilesUp(t *testing.T) {
	t.Parallel()
	steady := trip{rate: 1000, Report: journey.Report{Before: 10, After: 260, Events: latency.Summary{P99: time.Second}}}
	for want, change := range map[string]func(*trip){
		"":                             func(*trip) {},
		"backlog grew from 10 to 261":  func(t *trip) { t.After = 261 },
		"p99 above 1s":                 func(t *trip) { t.Events.P99++ },
		"3 events missing":             func(t *trip) { t.Missing = 3 },
		"void: 2 × 503":                func(t *trip) { t.Webhooks.Statuses = map[int]uint64{503: 2} },
		"void: 1 × not sent, 1 × read": func(t *trip) { t.Webhooks.Late, t.Webhooks.Errors = 1, map[string]uint64{"read": 1} },
	} {
		tried := steady
		change(&tried)
		if got := tried.unsteady(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHighestSteadyRateLiesBeforeAnUnsteadyOne(t *testing.T) {
	t.Parallel()
	steady, higher, unsteady := trip{rate: 1000}, trip{rate: 1250}, trip{rate: 1562.5, Report: journey.Report{Missing: 1}}
	for _, pair := range [][2]trip{{higher, unsteady}, {unsteady, higher}} {
		row := edge(pair[0], pair[1], "1 + 1")
		if row == nil || row[1] != "1,250" || row[len(row)-1] != "highest steady; at 1,562/s 1 events missing" {
			t.Errorf("got %q", row)
		}
	}
	if row := edge(steady, higher, ""); row != nil {
		t.Errorf("between two steady ones: %q", row)
	}
	if row := edge(unsteady, unsteady, ""); row != nil {
		t.Errorf("between two unsteady ones: %q", row)
	}
}

// TestAuditFindsWhatWasLost stores some of what was answered 200, and one
// payment more.
func TestAuditFindsWhatWasLost(t *testing.T) {
	t.Parallel()
	b := jetstreamtest.Start(t)
	nc := b.Connect()
	for _, payment := range []string{"one", "two", "unanswered", "two"} {
		if _, err := nc.Request("notifications.picpay-checkout.default."+payment, []byte("{}"), 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	list := filepath.Join(t.TempDir(), "accepted")
	if err := os.WriteFile(list, []byte("one\ntwo\nlost\ngone\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lost, more, err := audit(t.Context(), b.URL, list)
	if err != nil || lost != 2 || more != 1 {
		t.Errorf("%d lost, %d more, %v; want 2 and 1", lost, more, err)
	}
	if _, _, err := audit(t.Context(), b.URL, list+"-missing"); err == nil {
		t.Error("no list, no error")
	}
	if _, err := payments(t.Context(), "nats://127.0.0.1:1"); !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("no broker: %v", err)
	}
}

func TestMemoryIsReadInFifths(t *testing.T) {
	t.Parallel()
	var sizes []float64
	for i := range 100 {
		sizes = append(sizes, float64(i))
	}
	if a, b, c := part(sizes, 1), part(sizes, 3), part(sizes, 5); a != 14.5 || b != 54.5 || c != 94.5 {
		t.Errorf("%v, %v, %v", a, b, c)
	}
	if got := part(nil, 1); got != 0 {
		t.Errorf("of nothing %v", got)
	}
}

func TestCommandLineIsChecked(t *testing.T) {
	t.Parallel()
	o, err := ParseOptions(strings.Fields("-rounds 2 -for 1s -connections 4,8 -only core,memory -rates 50 -workers 3"), io.Discard)
	if err != nil || o.Rounds != 2 || o.For != time.Second || !slices.Equal(o.Connections, []int{4, 8}) ||
		!slices.Equal(o.Parts, []string{"core", "memory"}) || !slices.Equal(o.Rates, []float64{50}) || !slices.Equal(o.Workers, []int{3}) {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := ParseOptions(nil, io.Discard); err != nil || slices.Contains(o.Parts, partLazy) || !slices.Contains(o.Parts, partCore) {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := ParseOptions(strings.Fields("-all -stage memory"), io.Discard); err != nil || !slices.Equal(o.Parts, Parts()) {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := ParseOptions(strings.Fields("-all -stage="), io.Discard); err != nil || slices.Contains(o.Parts, partFiles) || !slices.Contains(o.Parts, partCore) {
		t.Errorf("without memory: %+v, %v", o, err)
	}
	if o, err := ParseOptions(strings.Fields("-only core -elsewhere there"), io.Discard); err != nil || !slices.Equal(o.Parts, []string{partCore, partElsewhere}) {
		t.Errorf("%+v, %v", o, err)
	}
	for _, wrong := range []string{"-only files -stage=", "-only elsewhere", "-only machine", "-only everything", "-rounds 0", "-connections 8,x", "-connections 0", "-for -1s", "something", "-rates 1.5"} {
		if _, err := ParseOptions(strings.Fields(wrong), io.Discard); err == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
	if _, err := ParseOptions([]string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}
