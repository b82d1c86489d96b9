package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/wait"
	"arauto/deploy/tools/local/supervise"
	"arauto/schemas/order"
)

// bin holds the real binaries, built once for all tests of this package.
var bin string

func TestMain(m *testing.M) {
	processtest.ServeFillable()
	os.Exit(processtest.Main(m, &bin, "arauto/gateway", "arauto/workers/cmd/lookup", "arauto/workers/cmd/normalize", "arauto/workers/cmd/sweep", "arauto/workers/cmd/expect", "arauto/workers/cmd/console",
		"arauto/deploy/tools/simulator", "arauto/workers/cmd/arauto", processtest.NATSServer))
}

// stack is what `make run DEMO=off` gives, on ports of its own.
type stack struct {
	t    testing.TB
	ctx  context.Context
	dir  string
	at   supervise.Addresses
	js   jetstream.JetStream
	nc   *nats.Conn
	http *http.Client

	mu     sync.Mutex
	events map[string][]order.Event // By account and payment.
	came   map[string]time.Time     // When the first of them came.
	grown  chan struct{}            // Closed and replaced whenever an event came.
}

// start runs a supervisor with the real binaries and follows ORDERS. It ends
// with the test.
func start(t testing.TB) *stack {
	t.Helper()
	return startRoles(t, supervise.Roles())
}

// startRoles is start with some of the roles only.
func startRoles(t testing.TB, roles []string) *stack {
	t.Helper()
	return startWith(t, func(o *supervise.Options) { o.Roles = roles })
}

// startWith is start with options changed.
func startWith(t testing.TB, change func(*supervise.Options)) *stack {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute+storedIn())
	s := &stack{
		t: t, ctx: ctx, dir: t.TempDir(), http: &http.Client{Timeout: 30 * time.Second},
		events: map[string][]order.Event{}, came: map[string]time.Time{}, grown: make(chan struct{}),
	}
	listening, ready, done := make(chan supervise.Addresses, 1), make(chan struct{}), make(chan error, 1)
	options := supervise.Options{
		Dir: s.dir, BinDir: bin,
		Addresses: supervise.Addresses{NATS: "127.0.0.1:0", Gateway: "127.0.0.1:0", Admin: "127.0.0.1:0", Simulator: "127.0.0.1:0", Console: "127.0.0.1:0"},
		Roles:     supervise.Roles(),
		Listening: func(a supervise.Addresses) { listening <- a },
		Ready:     func() { close(ready) },
	}
	change(&options)
	go func() {
		done <- supervise.Run(ctx, options)
	}()
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("supervisor stopped with %v", err)
		}
		if t.Failed() {
			s.showLogs()
		}
	})
	select {
	case s.at = <-listening:
	case err := <-done:
		done <- nil
		t.Fatalf("supervisor ended before it listened: %v", err)
	}
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("supervisor ended before it was ready: %v", err)
	}
	s.follow()
	return s
}

// showLogs prints the end of the children's logs beside a failure.
func (s *stack) showLogs() {
	logs, err := filepath.Glob(filepath.Join(s.dir, "log", "*.log"))
	if err != nil {
		s.t.Log(err)
	}
	for _, name := range logs {
		data, err := os.ReadFile(name)
		if err != nil {
			s.t.Log(err)
		}
		s.t.Logf("%s ends with:\n%s", filepath.Base(name), data[max(0, len(data)-3000):])
	}
}

// follow collects every event of ORDERS and holds each to the contract.
func (s *stack) follow() {
	s.t.Helper()
	s.nc, s.js = testbench.Connect(s.t, "nats://"+s.at.NATS)
	consumer, err := s.js.OrderedConsumer(s.ctx, "ORDERS", jetstream.OrderedConsumerConfig{})
	testbench.Must(s.t, err)
	last := map[string]uint64{}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		raw := &jetstream.RawStreamMsg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()}
		if err := testbench.CheckEvent(raw, last); err != nil {
			s.t.Errorf("event on %s: %v", m.Subject(), err)
		}
		var e order.Event
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			s.t.Errorf("event on %s: %v", m.Subject(), err)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		key := e.Provider + "/" + e.Account + "/" + e.Payment
		if s.events[key] = append(s.events[key], e); len(s.events[key]) == 1 {
			s.came[key] = time.Now()
		}
		close(s.grown)
		s.grown = make(chan struct{})
	})
	testbench.Must(s.t, err)
	s.t.Cleanup(func() { consuming.Stop(); <-consuming.Closed() })
}

// log returns a payment's events so far; key is provider/account/payment.
func (s *stack) log(key string) []order.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events[key]
}

// await waits until the payments' logs satisfy enough, and fails with what is
// there when the time is over.
func (s *stack) await(what string, enough func() bool) {
	s.t.Helper()
	timeout := time.NewTimer(3 * time.Minute)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		grown := s.grown
		s.mu.Unlock()
		if enough() {
			return
		}
		select {
		case <-grown:
		case <-timeout.C:
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// awaitStatuses waits until a payment's log is exactly these statuses.
func (s *stack) awaitStatuses(key string, want ...order.Status) []order.Event {
	s.t.Helper()
	s.await(fmt.Sprintf("%s to become %v, it is %v", key, want, statuses(s.log(key))), func() bool {
		return len(s.log(key)) >= len(want)
	})
	got := s.log(key)
	if fmt.Sprint(statuses(got)) != fmt.Sprint(want) {
		s.t.Fatalf("log of %s is %v, want %v", key, statuses(got), want)
	}
	return got
}

func statuses(events []order.Event) []order.Status {
	all := make([]order.Status, len(events))
	for i, e := range events {
		all[i] = e.Status
	}
	return all
}

// call makes a request and returns status and body.
func (s *stack) call(method, target, contentType string, header map[string]string, body string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.ctx, method, target, strings.NewReader(body))
	testbench.Must(s.t, err)
	request.Header.Set("Content-Type", contentType)
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(answer)
}

// post sends a webhook to the gateway and wants 200 Ok. Like a provider it sends again
// after a 503: on a busy machine a sync may take longer than the publish timeout.
func (s *stack) post(path, contentType string, header map[string]string, body string) {
	s.t.Helper()
	status, answer := http.StatusServiceUnavailable, ""
	for status == http.StatusServiceUnavailable && s.ctx.Err() == nil {
		status, answer = s.call(http.MethodPost, "http://"+s.at.Gateway+path, contentType, header, body)
	}
	if status != http.StatusOK || answer != "Ok" {
		s.t.Fatalf("POST %s gave %d %q", path, status, answer)
	}
}

// notify sends the sandbox's thin webhook.
func (s *stack) notify(payment string) {
	s.t.Helper()
	s.post("/v1/sandbox/notifications", "application/json",
		map[string]string{"authorization": "sandbox-local-token"}, fmt.Sprintf(`{"payment":%q}`, payment))
}

// set changes a payment at the simulated provider.
func (s *stack) set(provider, payment string, state map[string]any) {
	s.t.Helper()
	s.setOf(provider, "default", payment, state)
}

// setOf is set for an account other than the default one.
func (s *stack) setOf(provider, account, payment string, state map[string]any) {
	s.t.Helper()
	s.setUnit(provider, account, "payments", payment, state)
}

// setUnit is setOf for a unit other than payments. A webhook that a busy gateway answers with
// 503 is sent again, as a provider does.
func (s *stack) setUnit(provider, account, unit, id string, state map[string]any) {
	s.t.Helper()
	body, err := json.Marshal(state)
	testbench.Must(s.t, err)
	target := "http://" + s.at.Simulator + "/_sim/" + provider + "/" + account + "/" + unit + "/" + url.PathEscape(id)
	for {
		status, answer := s.call(http.MethodPut, target, "application/json", nil, string(body))
		if status == http.StatusOK {
			return
		}
		if !strings.Contains(answer, `"notified":503`) || !wait.For(s.ctx, 100*time.Millisecond) {
			s.t.Fatalf("PUT %s gave %d %s", target, status, answer)
		}
	}
}

// lookups says how often each payment was asked for.
func (s *stack) lookups(provider string) map[string]int {
	s.t.Helper()
	_, answer := s.call(http.MethodGet, "http://"+s.at.Simulator+"/_sim/"+provider+"/lookups", "", nil, "")
	counts := map[string]int{}
	if err := json.NewDecoder(bytes.NewReader([]byte(answer))).Decode(&counts); err != nil {
		s.t.Fatalf("look-up counts are %q: %v", answer, err)
	}
	return counts
}
