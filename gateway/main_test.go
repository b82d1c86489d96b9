package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/providers"
)

// started is a process but for its main function.
type started struct {
	out  *testbench.Output
	code chan int
	stop context.CancelFunc
}

func start(t *testing.T, nats, gateway string) *started {
	t.Helper()
	path := filepath.Join(t.TempDir(), "arauto.yaml")
	if !strings.HasPrefix(gateway, "listen: ") {
		gateway = "listen: '127.0.0.1:0', " + gateway
	}
	text := `profile: local
hash_key: a key for tests only, 32 bytes..
nats: {` + nats + `}
gateway: {admin: '127.0.0.1:0', ` + gateway + `}
providers: {sandbox: {accounts: {default: {webhook_secrets: [hook]}}}}
`
	testbench.Must(t, os.WriteFile(path, []byte(text), 0o600))
	ctx, stop := context.WithCancel(t.Context())
	s := &started{out: &testbench.Output{}, code: make(chan int, 1), stop: stop}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		none := func(string) (string, bool) { return "", false }
		s.code <- process.Run(ctx, config.RoleGateway, []string{"-config", path}, none, io.Discard, s.out, run)
	}()
	t.Cleanup(func() { stop(); <-ended })
	return s
}

func (s *started) end(t *testing.T) int {
	t.Helper()
	return testbench.Receive(t, "the process ends", s.code)
}

var admin = regexp.MustCompile(`"msg":"process.started".*"admin":"([^"]+)"`)

// get requests a path of the admin listener. The status is 0 before it listens.
func (s *started) get(t *testing.T, path string) (int, string) {
	t.Helper()
	found := admin.FindStringSubmatch(s.out.String())
	if found == nil {
		return 0, ""
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + found[1] + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	testbench.Must(t, err)
	return answer.StatusCode, string(body)
}

// deployed starts a broker with monitoring and the whole topology.
func deployed(t *testing.T, change func(*server.Options)) *testbench.Broker {
	t.Helper()
	b := testbench.StartEmpty(t, testbench.Monitored, change)
	b.Apply(providers.All.Names()...)
	return b
}

func TestUnmetDurabilityEndsWithTheExitCodeForConfiguration(t *testing.T) {
	t.Parallel()
	b := deployed(t, func(*server.Options) {})
	seen := "url: '" + b.URL + "', monitor_url: '" + b.Monitor() + "'"
	for name, c := range map[string]struct{ nats, durability, says string }{
		"lazy sync":           {seen, "power-loss", "arauto.yaml:4: gateway.durability: claims power-loss, but what can be seen is process-kill: sync_interval is 2m0s on test, so "},
		"one replica":         {seen, "node-loss", "arauto.yaml:4: gateway.durability: claims node-loss, but what can be seen is process-kill: replicas is 1, so "},
		"without an address":  {"url: '" + b.URL + "'", "power-loss", "arauto.yaml:4: gateway.durability: claims power-loss, but without nats.monitor_url "},
		"monitor unreachable": {"url: '" + b.URL + "', monitor_url: 'http://127.0.0.1:1'", "power-loss", "sync_interval is unknown (test: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, c.nats, "durability: "+c.durability)
			if code := s.end(t); code != process.ExitRefused || !strings.Contains(s.out.String(), c.says) {
				t.Errorf("exit code %d, output lacks %q:\n%s", code, c.says, s.out)
			}
		})
	}
}

func TestMetDurabilityIsServedAndLogged(t *testing.T) {
	t.Parallel()
	b := deployed(t, func(o *server.Options) { o.SyncAlways = true })
	s := start(t, "url: '"+b.URL+"', monitor_url: '"+b.Monitor()+"'", "durability: power-loss")
	testbench.Until(t, "it is ready", func() bool { code, _ := s.get(t, "/readyz"); return code == http.StatusOK })
	if code, text := s.get(t, "/durability"); code != http.StatusOK || !strings.Contains(text, `"claim": "power-loss"`) || !strings.Contains(text, `"holds": true`) {
		t.Errorf("/durability answers %d %s", code, text)
	}
	if _, text := s.get(t, "/metrics"); !strings.Contains(text, "arauto_durability_requirement_unmet 0") {
		t.Error("the alarm is missing")
	}
	if !strings.Contains(s.out.String(), `"msg":"durability.read"`) {
		t.Errorf("the durability is not logged:\n%s", s.out)
	}
	s.stop()
	if code := s.end(t); code != process.ExitClean {
		t.Errorf("the exit code is %d:\n%s", code, s.out)
	}
}

// TestDurabilityIsVerifiedOnceTheBrokerStarts starts gateways before the broker: they run,
// and are not ready.
func TestDurabilityIsVerifiedOnceTheBrokerStarts(t *testing.T) {
	t.Parallel()
	b := deployed(t, func(o *server.Options) { o.SyncAlways = true })
	nats := "url: '" + b.URL + "', monitor_url: '" + b.Monitor() + "'"
	b.Stop()
	required, unset := start(t, nats, "durability: power-loss"), start(t, nats, "durability: ''")
	testbench.Until(t, "they serve", func() bool {
		one, text := required.get(t, "/readyz")
		other, _ := unset.get(t, "/readyz")
		return one == http.StatusServiceUnavailable && strings.Contains(text, "not verified yet") && other == http.StatusServiceUnavailable
	})
	b.Restart(func(o *server.Options) { o.SyncAlways = false })
	if code := required.end(t); code != process.ExitRefused {
		t.Errorf("exit code %d:\n%s", code, required.out)
	}
	testbench.Until(t, "the gateway without a requirement is ready", func() bool { code, _ := unset.get(t, "/readyz"); return code == http.StatusOK })
	if code, text := unset.get(t, "/durability"); code != http.StatusOK || !strings.Contains(text, `"claim": "process-kill"`) {
		t.Errorf("/durability answers %d %s", code, text)
	}
}
