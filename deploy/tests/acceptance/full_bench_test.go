package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/providers"
)

// fullConfig is the local configuration without what a full disk has no use for. Its
// verbs are the broker, its monitoring address, the gateway's address and its admin's,
// the simulator's, and the store's size.
const fullConfig = `profile: local
hash_key: arauto-local-hash-key-never-elsewhere
nats: {url: %q, monitor_url: %q}
gateway: {listen: %q, admin: %q, durability: power-loss}
lookup: {admin: "127.0.0.1:0", providers: [picpay, yapay]}
normalize: {admin: "127.0.0.1:0"}
sweep: {admin: "127.0.0.1:0"}
expect: {admin: "127.0.0.1:0"}
providers:
  picpay:
    accounts:
      acme: {webhook_secrets: [acme-4ef4edbd-5cda-42da-860b-0e8d7b90c784], settings: {base_url: "http://%[5]s/picpay", token: acme-picpay-lookup-token}}
  yapay:
    accounts:
      acme: {path_keys: [acme-yapay-local-key], settings: {base_url: "http://%[5]s/yapay", token_account: acme-yapay-lookup-token}}
topology: {store: %[6]dMiB}
`

const (
	fullFor     = 5 * time.Second  // How long the disk has no room.
	restartedIn = 10 * time.Second // From then until the broker is restarted, as the health check of compose.yaml does.
)

// underFullDisk measures a quiet phase and one in which the broker's disk is full, has
// room again, and the broker is restarted. Nothing can be stored meanwhile, so every
// webhook is answered 503 and repeated, and what is compared with the quiet phase is
// the one behind it. It prints how long the outage was, and fails if a webhook is lost.
func underFullDisk(b *testing.B) {
	b.Helper()
	f := processtest.StartFillable(b, providers.All.Names()...)
	s := startOn(b, f)
	measure := func(name string, length time.Duration) *phase {
		stop := s.trickle(name)
		s.rest(length)
		return stop()
	}
	quiet := measure("quiet", quietPhase)
	s.settle(quiet)
	stop := s.trickle("full")
	f.Fill()
	s.rest(fullFor)
	during := s.says()
	f.Free()
	freed := time.Now()
	s.rest(restartedIn)
	freely := s.says()
	f.Kill()
	f.Start()
	restarted := time.Now()
	full := stop()
	s.settle(full)
	first := time.Duration(0)
	for _, at := range full.okay {
		if since := at.Sub(restarted); since > 0 && (first == 0 || since < first) {
			first = since
		}
	}
	b.Logf("%d real webhooks while the disk was full, refused %v; the first 200 came %v after the restart, which was %v after there was room",
		len(full.okay), full.refused, first.Round(time.Millisecond), restarted.Sub(freed).Round(time.Millisecond))
	b.ReportMetric(float64(first.Milliseconds()), "restart-to-200-ms")
	after := measure("healed", quietPhase)
	s.settle(after)
	s.drained()
	report(b, quiet, after)
	b.Logf("while the disk was full:\n%s\nwhen it had room again:\n%s\nat the end:\n%s", during, freely, s.says())
}

// startOn is start with another broker than the supervisor's.
func startOn(b *testing.B, f *processtest.Fillable) *stack {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 4*time.Minute)
	s := &stack{
		t: b, ctx: ctx, dir: b.TempDir(), http: &http.Client{Timeout: 30 * time.Second},
		events: map[string][]order.Event{}, came: map[string]time.Time{}, grown: make(chan struct{}),
	}
	ports := processtest.FreePorts(b, 3)
	address := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	s.at.NATS, s.at.Gateway, s.at.Admin, s.at.Simulator = strings.TrimPrefix(f.URL, "nats://"), address(0), address(1), address(2)
	config := filepath.Join(s.dir, "arauto.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, fullConfig, f.URL, f.Monitor, s.at.Gateway, s.at.Admin, s.at.Simulator, testbench.Store>>20), 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.dir, "log"), 0o700); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		s.http.CloseIdleConnections()
		cancel()
		if b.Failed() {
			s.showLogs()
		}
	})
	for role, args := range map[string][]string{
		"simulator": {"-listen", s.at.Simulator, "-gateway", "http://" + s.at.Gateway},
		"gateway":   {"-config", config}, "lookup": {"-config", config}, "normalize": {"-config", config}, "sweep": {"-config", config},
		"expect": {"-config", config}, // Its consumer of ORDERS must come to rest too.
	} {
		s.role(role, args...)
	}
	for ready := 0; ready != http.StatusOK; s.rest(20 * time.Millisecond) {
		if ready, _ = s.call(http.MethodGet, "http://"+s.at.Admin+"/readyz", "", nil, ""); s.ctx.Err() != nil {
			b.Fatal("the gateway does not become ready")
		}
	}
	s.follow()
	return s
}

// role runs a binary until the benchmark ends, or this process does.
func (s *stack) role(name string, args ...string) {
	s.t.Helper()
	log, err := os.Create(filepath.Join(s.dir, "log", name+".log"))
	testbench.Must(s.t, err)
	defer log.Close() //nolint:errcheck // The child has its own descriptor.
	c := exec.CommandContext(s.ctx, filepath.Join(bin, name), args...)
	c.Env = append(os.Environ(), "ARAUTO_STOP_ON_STDIN_EOF=1")
	c.Stdout, c.Stderr = log, log
	if _, err := c.StdinPipe(); err != nil { // It ends with this process.
		s.t.Fatal(err)
	}
	testbench.Must(s.t, c.Start())
	s.t.Cleanup(func() {
		_ = c.Process.Kill() // It may be gone.
		_ = c.Wait()         // It says that it was killed.
	})
}
