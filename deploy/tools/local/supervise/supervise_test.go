package supervise

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/provider"
)

func TestNotificationOfTheSeedsIsPrintedAsEvent(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	r := begin(ctx, t, nil)
	if status := notify(ctx, t, r.Gateway); status != http.StatusOK {
		t.Fatalf("status %d, want 200", status)
	}
	line := r.out.line(ctx, t, "orders.picpay.default.102030.102030.paid")
	if !containsAll(line, []string{" #1 ", " paid ", "R$ 100,00"}) {
		t.Errorf("the line lacks something: %s", line)
	}
	if err := r.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	r.free(t)
}

// free fails the test when an address is still taken.
func (r *running) free(t *testing.T) {
	t.Helper()
	for _, address := range []string{r.NATS, r.Gateway, r.Admin, r.Simulator} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("address is not free after the stop: %v", err)
			continue
		}
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDemoPlaysEventsOfSeveralProviders(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	every, err := ParseDemo("50ms")
	testbench.Must(t, err)
	r := begin(ctx, t, func(o *Options) { o.DemoEvery = every })
	for _, parts := range [][]string{
		{"orders.picpay.", " #4 ", "partially_refunded -> refunded", "refunded R$ 100,00"},
		{"orders.yapay.", "pending -> paid"},
		{"orders.beeteller.", "unconfirmed"},
		{"orders.picpay-checkout.", "pending -> authenticated"},
	} {
		r.out.line(ctx, t, parts...)
	}
	if err := r.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestMetricsOfEveryRoleAreMerged(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	r := begin(ctx, t, nil)
	if status := notify(ctx, t, r.Gateway); status != http.StatusOK {
		t.Fatalf("status %d, want 200", status)
	}
	r.out.line(ctx, t, "orders.picpay.default.102030")
	_, text := get(ctx, t, "http://"+r.Admin+"/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("the answer is not in Prometheus' format: %v", err)
	}
	seen := map[string]bool{}
	for _, metric := range all["go_goroutines"].GetMetric() {
		for _, label := range metric.GetLabel() {
			seen[label.GetName()+"="+label.GetValue()] = true
		}
	}
	for _, role := range []string{Gateway, Lookup, Normalize, Sweep, Expect} {
		if !seen["role="+role] {
			t.Errorf("go_goroutines has no role=%s", role)
		}
	}
	for _, want := range []string{
		`arauto_webhooks_total{provider="picpay",result="accepted",role="gateway",rule=""} 1`,
		`arauto_simulator_lookups_total{provider="picpay",`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestAdminShowsThatA200SurvivesAPowerCut(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	r := begin(ctx, t, func(o *Options) { o.Roles = []string{Gateway} })
	status, text := get(ctx, t, "http://"+r.Admin+"/durability")
	for _, want := range []string{`"claimed": "power-loss"`, `"holds": true`, `"claim": "power-loss"`, `"sync": "always"`} {
		if status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("status %d without %s: %s", status, want, text)
		}
	}
	without := begin(ctx, t, func(o *Options) { o.Roles = []string{Normalize} })
	if status, text := get(ctx, t, "http://"+without.Admin+"/durability"); status != http.StatusNotFound {
		t.Errorf("without a gateway: status %d, %s", status, text)
	}
}

func TestKilledChildrenAreStartedAgain(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	r := begin(ctx, t, nil)
	before := roles(ctx, r.Admin)
	for _, role := range Roles() {
		if before[role].PID <= 0 { // Signals to 0 go to the test's own group.
			t.Fatalf("%s has no process: %+v", role, before)
		}
		if err := syscall.Kill(int(before[role].PID), syscall.SIGKILL); err != nil {
			t.Fatalf("kill %s: %v", role, err)
		}
	}
	// The gateway's socket never closes, so this waits for the new process
	// instead of being refused.
	testbench.Until(t, "200 from the gateway that was started again", func() bool {
		return notify(ctx, t, r.Gateway) == http.StatusOK // 503 while a busy broker is slow.
	})
	for _, role := range Roles() {
		testbench.Until(t, role+" is ready again, as another process", func() bool {
			now := roles(ctx, r.Admin)[role]
			return now.Ready && now.PID != before[role].PID && now.Restarts == 1
		})
		r.out.line(ctx, t, role+" ended (signal: killed); starting it again")
	}
	r.out.line(ctx, t, "orders.picpay.default.102030.102030.paid")
	if err := r.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestGatewayIsGoneWhileALaterRoleStillStops(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	bin, out := t.TempDir(), newOutput()
	script(t, bin, Gateway, "echo up; read -r never")
	script(t, bin, Normalize, "trap '' TERM; echo up; read -r never")
	listening, done := make(chan Addresses, 1), make(chan error, 1)
	abort, kill := context.WithCancel(ctx)
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		done <- Run(run, Options{
			Dir: t.TempDir(), BinDir: bin, Addresses: anyAddresses, Roles: []string{Gateway, Normalize}, Stdout: out,
			Listening: func(a Addresses) { listening <- a }, Abort: abort,
		})
	}()
	out.line(ctx, t, "gateway: up")
	out.line(ctx, t, "normalize: up")
	addresses := <-listening
	gateway := addresses.Gateway
	if status, body := get(ctx, t, "http://"+addresses.Admin+"/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("readiness is %d %s, want 503: the children answer nothing", status, body)
	}
	cancel()
	soon, enough := context.WithTimeout(ctx, stopLimit/2) // Later, normalize would be killed and everything closed.
	defer enough()
	if !testbench.Poll(soon, func() bool {
		conn, err := net.Dial("tcp", gateway)
		if err == nil {
			_ = conn.Close() // It was only a question.
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}) {
		t.Fatal("connections to the gateway are not refused")
	}
	select {
	case err := <-done:
		t.Fatalf("it ended without normalize having stopped: %v", err)
	default:
	}
	kill()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "stop normalize: signal: killed") {
		t.Errorf("got %v, want an error that says that normalize was killed", err)
	}
}

func TestOnlyChosenRolesAreStartedAndCounted(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	r := begin(ctx, t, func(o *Options) { o.Roles, o.DemoEvery = []string{Gateway}, 1 })
	if got := slices.Sorted(maps.Keys(roles(ctx, r.Admin))); !slices.Equal(got, []string{"broker", Gateway}) {
		t.Errorf("readiness counts %v", got)
	}
	if status := notify(ctx, t, r.Gateway); status != http.StatusOK {
		t.Errorf("status %d, want 200", status)
	}
	r.out.line(ctx, t, "No demo traffic")
	if err := r.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestTwoSupervisorsRunSideBySideButNotInOneFolder(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	first, second := begin(ctx, t, nil), begin(ctx, t, nil)
	if status := notify(ctx, t, second.Gateway); status != http.StatusOK {
		t.Fatalf("status %d, want 200", status)
	}
	second.out.line(ctx, t, "orders.picpay.default.102030")
	if text, _ := first.out.read(); strings.Contains(text, "orders.picpay") {
		t.Error("the first one shows an event of the second")
	}
	err := Run(ctx, Options{Dir: first.dir, BinDir: binDir, Addresses: anyAddresses})
	if err == nil || !strings.Contains(err.Error(), "does it run already") {
		t.Errorf("a third one in the first one's folder: %v", err)
	}
	if code, _ := get(ctx, t, "http://"+first.Admin+"/readyz"); code != http.StatusOK {
		t.Errorf("the first one answers %d after that, want 200", code)
	}
}

func TestStateSurvivesARestart(t *testing.T) {
	t.Parallel()
	ctx := testbench.Context(t)
	dir := t.TempDir()
	in := func(o *Options) { o.Dir = dir }
	r := begin(ctx, t, in)
	if status := notify(ctx, t, r.Gateway); status != http.StatusOK {
		t.Fatalf("status %d, want 200", status)
	}
	r.out.line(ctx, t, "orders.picpay.default.102030.102030.paid")
	if err := r.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	r = begin(ctx, t, in)
	picpay := life{provider: "picpay", account: "default", unit: "payments"}
	testbench.Must(t, move(ctx, r.Simulator, picpay, "102030", provider.Step{Word: "paid", Refunded: 4000}))
	r.out.line(ctx, t, " #2 ", "paid -> partially_refunded", "refunded R$ 40,00")
	if text, _ := r.out.read(); strings.Contains(text, " #1 ") {
		t.Errorf("an event of the run before is shown again:\n%s", text)
	}
}

func TestAddressInUseIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(t, err)
	defer taken.Close() //nolint:errcheck // It accepts nothing.
	ctx, cancel := context.WithTimeout(testbench.Context(t), 4*busyPause)
	defer cancel()
	addresses := anyAddresses
	addresses.Gateway = taken.Addr().String()
	err = Run(ctx, Options{Dir: t.TempDir(), BinDir: binDir, Addresses: addresses})
	if err == nil || !strings.Contains(err.Error(), addresses.Gateway) {
		t.Errorf("got %v, want an error that names %s", err, addresses.Gateway)
	}
}

func TestMissingBinaryIsRefusedBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	err := Run(testbench.Context(t), Options{Dir: t.TempDir(), BinDir: t.TempDir(), Addresses: anyAddresses})
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v, want the advice to build", err)
	}
}
