package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
)

// binDir has the real binaries, built once for all tests.
var binDir string

func TestMain(m *testing.M) {
	os.Exit(processtest.Main(m, &binDir, "arauto/gateway", "arauto/workers/cmd/lookup", "arauto/workers/cmd/normalize", "arauto/workers/cmd/sweep", "arauto/workers/cmd/expect", "arauto/workers/cmd/console",
		"arauto/deploy/tools/simulator", "arauto/deploy/tools/local"))
}

// anyAddresses leaves every port to the system.
var anyAddresses = Addresses{NATS: "127.0.0.1:0", Gateway: "127.0.0.1:0", Admin: "127.0.0.1:0", Simulator: "127.0.0.1:0", Console: "127.0.0.1:0"}

// output is a terminal that tests can wait on.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}

// line waits for the first line that has every one of the parts.
func (o *output) line(ctx context.Context, t *testing.T, parts ...string) string {
	t.Helper()
	for {
		text, changed := o.read()
		for line := range strings.Lines(text) {
			if containsAll(line, parts) {
				return strings.TrimSuffix(line, "\n")
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("no line with %q in:\n%s", parts, text)
		}
	}
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// running is a supervisor inside the test's own process.
type running struct {
	Addresses
	out  *output
	dir  string
	stop func() error // Waits for the end. It may be called again.
}

// begin starts a supervisor and waits until everything is ready.
func begin(ctx context.Context, t *testing.T, change func(*Options)) *running {
	t.Helper()
	r := &running{out: newOutput(), dir: t.TempDir()}
	o := Options{Dir: r.dir, BinDir: binDir, Addresses: anyAddresses, Stdout: r.out}
	listening, ready := make(chan Addresses, 1), make(chan struct{})
	o.Listening = func(a Addresses) { listening <- a }
	o.Ready = func() { close(ready) }
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = r.stop() }) // The test that cares has asked before.
	select {
	case r.Addresses = <-listening:
	case err := <-ended:
		ended <- err
		t.Fatalf("start: %v", err)
	case <-ctx.Done():
		t.Fatal("no address was opened")
	}
	select {
	case <-ready:
	case <-ctx.Done():
		text, _ := r.out.read()
		t.Fatalf("it did not become ready:\n%s", text)
	}
	return r
}

// patient is client for a busy machine.
var patient = &http.Client{Timeout: time.Minute, Transport: client.Transport}

func get(ctx context.Context, t *testing.T, url string) (int, string) {
	t.Helper()
	status, body, err := ask(ctx, url)
	if err != nil {
		t.Fatalf("get %s: %v", url, err)
	}
	return status, string(body)
}

func ask(ctx context.Context, url string) (status int, body []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := patient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// roles reads /readyz; nil when it does not answer.
func roles(ctx context.Context, admin string) map[string]part {
	_, body, err := ask(ctx, "http://"+admin+"/readyz")
	if err != nil {
		return nil
	}
	var r readiness
	if json.Unmarshal(body, &r) != nil {
		return nil
	}
	return r.Roles
}

// notify posts PicPay's own example and returns the status.
func notify(ctx context.Context, t *testing.T, gateway string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+gateway+"/v1/picpay/notifications",
		strings.NewReader(`{"referenceId": "102030", "authorizationId": "555008cef7f321d00ef236333"}`))
	testbench.Must(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("x-seller-token", "4ef4edbd-5cda-42da-860b-0e8d7b90c784")
	resp, err := patient.Do(r)
	if err != nil {
		t.Fatalf("notify: %v", err)
	}
	testbench.Must(t, resp.Body.Close())
	return resp.StatusCode
}
