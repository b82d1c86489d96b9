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

	"arauto/deploy/runtime/topology/jetstreamtest"
	"arauto/gateway/gatewaytest"
	"arauto/gateway/publish"
	"arauto/gateway/webhook"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

func TestMain(m *testing.M) { gatewaytest.VerifyNoLeaks(m) }

// gateway is a Gateway that runs on a socket, with a broker of its own.
type gateway struct {
	t        testing.TB
	broker   *jetstreamtest.Broker
	addr     string
	client   *http.Client
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
	stop     context.CancelFunc
	ended    chan error
}

func start(t testing.TB, change func(*webhook.Options)) *gateway {
	t.Helper()
	return startOn(t, jetstreamtest.Start(t, providers.All.Names()...), change)
}

func startOn(t testing.TB, broker *jetstreamtest.Broker, change func(*webhook.Options)) *gateway {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	g := &gateway{t: t, broker: broker, registry: prometheus.NewRegistry(), logs: logs, ended: make(chan error, 1)}
	o := options(t, providers.All)
	o.Log, o.Registerer = zap.New(core), g.registry
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
	tokens, err := subject.Keyed("a key for tests only, 32 bytes..")
	if err != nil {
		t.Fatal(err)
	}
	o := webhook.Options{
		Providers: set, Tokens: tokens, Log: zap.NewNop(), Registerer: prometheus.NewRegistry(),
		Credentials: map[string]map[string][]string{},
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
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (g *gateway) run(o webhook.Options) {
	g.t.Helper()
	w, err := webhook.New(o)
	if err != nil {
		g.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
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
	if err != nil {
		g.t.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	answer, err := g.client.Do(r)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	return read(g.t, answer)
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
	if err != nil {
		g.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		g.t.Fatal(err)
	}
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
	gatewaytest.Until(g.t, g.broker.NC.IsConnected) // After a restart of the broker.
	ctx := jetstreamtest.Context(g.t)
	stream, err := g.broker.JS.Stream(ctx, subject.Notifications)
	if err != nil {
		g.t.Fatal(err)
	}
	info := stream.CachedInfo()
	var all []*jetstream.RawStreamMsg
	for seq++; seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if err != nil {
			g.t.Fatal(err)
		}
		all = append(all, m)
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
	families, err := g.registry.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	var sum float64
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if family.GetName() == name && label.GetValue() == value {
					sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	return sum
}

// series counts the series of all metrics.
func (g *gateway) series() int {
	g.t.Helper()
	n, err := testutil.GatherAndCount(g.registry)
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// always turns group commit on.
func always() bool { return true }
