package webhook_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/publish"
	"arauto/gateway/webhook"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// gateway is a Gateway that runs on a socket, with a broker of its own.
type gateway struct {
	t        testing.TB
	broker   *testbench.Broker
	addr     string
	client   *http.Client
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
	stop     context.CancelFunc
	ended    chan error
}

func start(t testing.TB, change func(*webhook.Options)) *gateway {
	t.Helper()
	return startOn(t, testbench.Start(t, providers.All.Names()...), change)
}

func startOn(t testing.TB, broker *testbench.Broker, change func(*webhook.Options)) *gateway {
	t.Helper()
	log, logs := testbench.Logs(zapcore.DebugLevel)
	g := &gateway{t: t, broker: broker, registry: prometheus.NewRegistry(), logs: logs, ended: make(chan error, 1)}
	o := options(t, providers.All)
	o.Log, o.Registerer = log, g.registry
	if change != nil {
		change(&o)
	}
	if o.Publisher == nil {
		o.Publisher = publisher(t, broker.Connect(), 20*time.Second)
	}
	g.run(o)
	return g
}

// options returns complete options but for the publisher.
func options(t testing.TB, set provider.Set) webhook.Options {
	t.Helper()
	tokens, err := subject.Keyed(testbench.HashKey)
	testbench.Must(t, err)
	o := webhook.Options{
		Providers: set, Tokens: tokens, Log: zap.NewNop(), Registerer: prometheus.NewRegistry(),
		Accounts: webhook.Accounts{Credentials: map[string]map[string][]string{}},
	}
	for _, name := range set.Names() {
		c := caller{name: name}
		o.Credentials[name] = map[string][]string{}
		for _, account := range []string{"default", "acme"} {
			o.Credentials[name][account] = []string{c.secret(account), c.second(account)}
		}
	}
	return o
}

func publisher(t testing.TB, nc *nats.Conn, timeout time.Duration) *publish.Notifications {
	t.Helper()
	p, err := publish.New(nc, publish.Options{Timeout: timeout, GroupCommit: always})
	testbench.Must(t, err)
	return p
}

func (g *gateway) run(o webhook.Options) *webhook.Gateway {
	g.t.Helper()
	w, err := webhook.New(o)
	testbench.Must(g.t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(g.t, err)
	var ctx context.Context
	ctx, g.stop = context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.ended <- w.Run(ctx, ln)
	}()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	g.addr, g.client = ln.Addr().String(), &http.Client{Transport: transport}
	g.t.Cleanup(func() {
		transport.CloseIdleConnections()
		g.stop()
		<-ended
	})
	return w
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
	last   bool // It has Connection: close.
}

// code returns the number in the error envelope, 200 for a success.
func (r reply) code(t testing.TB) int {
	t.Helper()
	if r.status == http.StatusOK && r.body == "Ok" && r.header.Get("content-type") == "text/plain" {
		return http.StatusOK
	}
	var envelope struct {
		Status, Message string
		Code            int
	}
	if err := json.Unmarshal([]byte(r.body), &envelope); err != nil || envelope.Status != "error" || envelope.Message == "" ||
		envelope.Code/1000 != r.status || r.header.Get("content-type") != "application/json" {
		t.Errorf("answer %d %q (%s) is not in the envelope", r.status, r.body, r.header.Get("content-type"))
	}
	return envelope.Code
}

func (g *gateway) post(path string, headers map[string]string, body string) reply {
	g.t.Helper()
	return g.do(http.MethodPost, path, headers, strings.NewReader(body))
}

func (g *gateway) do(method, path string, headers map[string]string, body io.Reader) reply {
	g.t.Helper()
	r, err := http.NewRequest(method, "http://"+g.addr+path, body)
	testbench.Must(g.t, err)
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	answer, err := g.client.Do(r)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	got := read(g.t, answer)
	holdToContract(g.t, r, got)
	return got
}

func read(t testing.TB, answer *http.Response) reply {
	t.Helper()
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	return reply{answer.StatusCode, answer.Header, string(text), answer.Close}
}

// dial opens a raw connection with a deadline in two minutes.
func (g *gateway) dial() (net.Conn, *bufio.Reader) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr)
	testbench.Must(g.t, err)
	testbench.Must(g.t, c.SetDeadline(time.Now().Add(2*time.Minute)))
	g.t.Cleanup(func() { _ = c.Close() })
	return c, bufio.NewReader(c)
}

// next reads one answer from a raw connection.
func next(t testing.TB, r *bufio.Reader) reply {
	t.Helper()
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("read raw answer: %v", err)
	}
	return read(t, answer)
}

// stored returns every message on NOTIFICATIONS, in order.
func (g *gateway) stored() []*jetstream.RawStreamMsg {
	g.t.Helper()
	all, _ := g.storedAfter(0)
	return all
}

// storedAfter returns the messages after a sequence, and the last sequence.
func (g *gateway) storedAfter(seq uint64) ([]*jetstream.RawStreamMsg, uint64) {
	g.t.Helper()
	testbench.Until(g.t, "the test is connected", g.broker.NC.IsConnected) // After a restart of the broker.
	info := g.broker.Stream(subject.Notifications).CachedInfo()
	var all []*jetstream.RawStreamMsg
	for seq++; seq <= info.State.LastSeq; seq++ {
		all = append(all, g.broker.Delivered(subject.Notifications, seq).RawStreamMsg)
	}
	return all, info.State.LastSeq
}

func document(t testing.TB, m *jetstream.RawStreamMsg) record.Notification {
	t.Helper()
	var n record.Notification
	if err := json.Unmarshal(m.Data, &n); err != nil {
		t.Fatalf("stored document: %v", err)
	}
	return n
}

// metric returns the sum of a metric's series that have a label value.
func (g *gateway) metric(name, value string) float64 {
	g.t.Helper()
	sum, _ := testbench.Metric(g.t, g.registry, name, value)
	return sum
}

// series counts the series of all metrics.
func (g *gateway) series() int {
	g.t.Helper()
	n, err := testutil.GatherAndCount(g.registry)
	testbench.Must(g.t, err)
	return n
}

// always turns group commit on.
func always() bool { return true }
