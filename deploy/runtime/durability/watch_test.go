package durability_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/testbench"
)

// proxy passes on to a monitoring address, so that a test can take it away.
func proxy(to *url.URL) http.Handler {
	p := httputil.NewSingleHostReverseProxy(to)
	p.Transport = &http.Transport{DisableKeepAlives: true}
	return p
}

// client is the link as the client itself tells of it.
type client struct{ nc *nats.Conn }

func (c client) Up() bool            { return c.nc.IsConnected() }
func (c client) Connections() uint64 { return c.nc.Stats().Reconnects }

// report is what a reader of /durability sees.
type report struct {
	Claimed  string                `json:"claimed"`
	Holds    bool                  `json:"holds"`
	Claim    string                `json:"claim"`
	Sentence string                `json:"sentence"`
	Weak     []durability.Weakness `json:"weak"`
	Problem  string                `json:"problem"`
	Facts    *struct {
		Sync    durability.Sync `json:"sync"`
		MaxAge  string          `json:"max_age"`
		Servers []struct {
			Interval string               `json:"sync_interval"`
			Problem  string               `json:"problem"`
			Failed   []durability.Failure `json:"failed"`
		} `json:"servers"`
	} `json:"facts"`
}

// watched is a watcher at work.
type watched struct {
	*durability.Watcher
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
	ended    chan error
}

func watch(t *testing.T, b *testbench.Broker, claimed durability.Claim, monitors ...string) *watched {
	t.Helper()
	return watchWith(t, durability.Options{
		NC: b.Connect(), Monitors: monitors, Claimed: claimed, Every: 20 * time.Millisecond, VisibilityTimeout: time.Second,
	})
}

// watchWith fills in where the watcher reports to.
func watchWith(t *testing.T, o durability.Options) *watched {
	t.Helper()
	log, logs := testbench.Logs(zapcore.InfoLevel)
	w := &watched{registry: prometheus.NewRegistry(), logs: logs, ended: make(chan error, 1)}
	o.Log, o.Registerer, o.Link = log, w.registry, client{o.NC}
	var err error
	if w.Watcher, err = durability.Watch(o); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.ended <- w.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
	return w
}

// refusal waits for the end of the watcher.
func (w *watched) refusal(t *testing.T) string {
	t.Helper()
	err := testbench.Receive(t, "the watcher refuses", w.ended)
	if unfounded := new(durability.Unfounded); !errors.As(err, &unfounded) {
		t.Fatalf("it ended with %v", err)
	}
	return err.Error()
}

func (w *watched) broken(t *testing.T) float64 {
	t.Helper()
	return w.gauge(t, "arauto_durability_requirement_unmet")
}

func (w *watched) gauge(t *testing.T, name string) float64 {
	t.Helper()
	if problems, err := testutil.GatherAndLint(w.registry); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	return testbench.Value(t, w.registry, name)
}

// report asks as the admin listener does.
func (w *watched) report(t *testing.T) (int, report) {
	t.Helper()
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/durability", http.NoBody).WithContext(t.Context()))
	var r report
	if err := json.Unmarshal(answer.Body.Bytes(), &r); err != nil {
		t.Fatalf("%v in %s", err, answer.Body)
	}
	return answer.Code, r
}

func TestClaimThatHoldsOpensAndIsLoggedOnce(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	w := watch(t, b, power, b.Monitor())
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil && w.Ready(t.Context()) == nil })
	if !w.SyncsEach() {
		t.Error("it does not know that each message is synced")
	}
	for range 3 {
		code, r := w.report(t)
		if code != http.StatusOK || !r.Holds || r.Claimed != "power-loss" || r.Claim != "power-loss" || r.Facts.Sync != durability.Always || r.Sentence == "" || len(r.Weak) != 1 ||
			r.Facts.MaxAge != "0s" || r.Facts.Servers[0].Interval != "2m0s" {
			t.Errorf("report %d: %+v", code, r)
		}
	}
	entries := w.logs.All()
	if len(entries) != 1 || entries[0].Message != "durability.read" || entries[0].ContextMap()["claim"] != "power-loss" || w.broken(t) != 0 {
		t.Errorf("logs are %v, broken %v", entries, w.broken(t))
	}
}

func TestClaimThatDoesNotHoldIsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		claimed durability.Claim
		syncs   bool
		stream  func(*jetstream.StreamConfig)
		says    string
	}{
		"lazy":          {power, false, nil, "claims power-loss, but what can be seen is process-kill: sync_interval is 2m0s on test"},
		"one replica":   {node, true, nil, "replicas is 1"},
		"both":          {all, false, nil, "; and replicas is 1"},
		"memory":        {killed, true, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage is memory"},
		"drops the old": {killed, true, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "run arauto topology apply"},
		"expires":       {power, true, func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Hour, time.Minute }, "max_age is 1h0m0s"},
		"asynchronous": {power, true, func(c *jetstream.StreamConfig) {
			c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false
		}, "persist_mode is async"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sync := lazy
			if c.syncs {
				sync = always
			}
			b := broker(t, c.stream, sync)
			w := watch(t, b, c.claimed, b.Monitor())
			if got := w.refusal(t); !strings.Contains(got, c.says) {
				t.Errorf("it says %q", got)
			}
			if w.Open() == nil {
				t.Error("it is open")
			}
		})
	}
}

func TestPolicyThatStaysHiddenIsRefusedAfterAWhile(t *testing.T) {
	t.Parallel()
	w := watch(t, broker(t, nil, always), power, "http://127.0.0.1:1")
	if got := w.refusal(t); !strings.Contains(got, "unknown") || !strings.Contains(got, "connection refused") {
		t.Errorf("it says %q", got)
	}
}

func TestPolicyThatShowsItselfInTimeIsNotRefused(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	to, err := url.Parse(b.Monitor())
	testbench.Must(t, err)
	var asked atomic.Int32
	shows := proxy(to)
	front := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if asked.Add(1) < 3 {
			answer.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		shows.ServeHTTP(answer, request)
	}))
	t.Cleanup(front.Close)
	w := watch(t, b, power, front.URL)
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil || len(w.ended) > 0 })
	if w.Open() != nil {
		t.Errorf("it ended with %v after %d questions", <-w.ended, asked.Load())
	}
}

func TestNothingClaimedIsReportedAndNeverRefused(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, lazy)
	w := watch(t, b, 0)
	if w.Open() != nil {
		t.Error("it is shut although nothing is claimed")
	}
	testbench.Until(t, "it has looked", func() bool { return w.logs.Len() > 0 })
	code, r := w.report(t)
	if code != http.StatusOK || !r.Holds || r.Claim != "process-kill" || r.Facts.Sync != durability.Unseen {
		t.Errorf("report %d: %+v", code, r)
	}
	if w.SyncsEach() {
		t.Error("it knows a policy that it cannot see")
	}
	if w.Open() != nil {
		t.Error("it is shut although nothing is claimed")
	}
}

func TestBrokerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	nc, monitor := b.Connect(), b.Monitor()
	b.Stop()
	testbench.Until(t, "it is away", func() bool { return !nc.IsConnected() })
	w, err := durability.Watch(durability.Options{NC: nc, Link: client{nc}, Monitors: []string{monitor}, Claimed: power, Log: zap.NewNop(), Registerer: prometheus.NewRegistry()})
	testbench.Must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	one := &watched{Watcher: w}
	if code, r := one.report(t); code != http.StatusServiceUnavailable || r.Holds || r.Problem == "" || w.Open() == nil {
		t.Errorf("report %d: %+v, open %v", code, r, w.Open())
	}
	b.Restart()
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestBrokerThatComesBackWeakerIsNeverTrusted restarts the broker under a
// claim. Between its return and the first look at it nothing is open either.
func TestBrokerThatComesBackWeakerIsNeverTrusted(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	w := watch(t, b, power, b.Monitor())
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
	reconnected := b.Connect()
	b.Stop()
	b.Restart(lazy)
	testbench.Until(t, "the broker is back", func() bool { return reconnected.IsConnected() && reconnected.Stats().Reconnects == 1 })
	testbench.Until(t, "the alarm is raised", func() bool { return w.broken(t) == 1 })
	if _, r := w.report(t); r.Holds || r.Claim != "process-kill" || w.Open() == nil || w.Ready(t.Context()) == nil || w.SyncsEach() {
		t.Errorf("report %+v, open %v, syncs each %v", r, w.Open(), w.SyncsEach())
	}
	if n := w.logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 {
		t.Errorf("%d errors are logged, want 1: %v", n, w.logs.All())
	}
	b.Stop()
	b.Restart(always)
	testbench.Until(t, "it opens again", func() bool { return w.Open() == nil && w.broken(t) == 0 })
	select {
	case err := <-w.ended:
		t.Errorf("it ended with %v", err)
	default:
	}
}

// TestReconnectShutsUntilTheBrokerWasLookedAt uses a watcher that only looks
// when it is asked.
func TestReconnectShutsUntilTheBrokerWasLookedAt(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	nc := b.Connect()
	w, err := durability.Watch(durability.Options{NC: nc, Link: client{nc}, Monitors: []string{b.Monitor()}, Claimed: power, Log: zap.NewNop(), Registerer: prometheus.NewRegistry()})
	testbench.Must(t, err)
	one := &watched{Watcher: w}
	if _, r := one.report(t); !r.Holds || w.Open() != nil {
		t.Fatalf("report %+v, open %v", r, w.Open())
	}
	b.Stop()
	b.Restart()
	testbench.Until(t, "it is back", func() bool { return nc.Stats().Reconnects == 1 && nc.IsConnected() })
	if w.Open() == nil {
		t.Error("it is open before anybody has looked at the broker that came back")
	}
	testbench.Until(t, "a look opens it", func() bool { one.report(t); return w.Open() == nil })
}

func TestStreamThatIsWeakenedIsNoticed(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	w := watch(t, b, power, b.Monitor())
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
	change := func(c jetstream.StreamConfig) {
		if _, err := b.JS.UpdateStream(testbench.Context(t), c); err != nil {
			t.Fatal(err)
		}
	}
	change(declared(t, 1, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }))
	testbench.Until(t, "it shuts", func() bool { return w.Open() != nil && w.broken(t) == 1 })
	change(declared(t, 1, nil))
	testbench.Until(t, "it opens again", func() bool { return w.Open() == nil && w.broken(t) == 0 })
}

func TestMonitorThatGoesAwayBreaksNoClaim(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	to, err := url.Parse(b.Monitor())
	testbench.Must(t, err)
	front := httptest.NewServer(proxy(to))
	t.Cleanup(front.Close)
	w := watch(t, b, power, front.URL)
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
	front.Close()
	if _, r := w.report(t); !r.Holds || r.Facts.Servers[0].Problem == "" || w.Open() != nil || w.broken(t) != 0 {
		t.Errorf("report %+v, open %v", r, w.Open())
	}
}

// TestRequestThatComesBeforeTheLookWaitsForIt is the first request after a
// start or a reconnect. It waits only while there is a broker to look at.
func TestRequestThatComesBeforeTheLookWaitsForIt(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	nc := b.Connect()
	w, err := durability.Watch(durability.Options{NC: nc, Link: client{nc}, Monitors: []string{b.Monitor()}, Claimed: power, Log: zap.NewNop(), Registerer: prometheus.NewRegistry()})
	testbench.Must(t, err)
	awaited := make(chan error, 1)
	go func() {
		_, err := w.Await(t.Context())
		awaited <- err
	}()
	select {
	case err := <-awaited:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	one := &watched{Watcher: w}
	one.report(t)
	if err := <-awaited; err != nil {
		t.Errorf("after the look: %v", err)
	}
	over, end := context.WithCancel(t.Context())
	end()
	b.Stop()
	b.Restart()
	testbench.Until(t, "it is back", func() bool { return nc.Stats().Reconnects == 1 && nc.IsConnected() })
	if number, err := w.Await(over); err == nil || number != 1 {
		t.Errorf("past its time: %d, %v", number, err)
	}
	b.Stop()
	testbench.Until(t, "it is away", func() bool { return !nc.IsConnected() })
	one.report(t)
	if _, err := w.Await(t.Context()); err == nil {
		t.Error("it is open although the broker that came back was never looked at")
	}
}

// A question that the last connection was asked is never answered. Nobody may
// wait for it once there is a new one.
func TestReconnectEndsALookThatIsNeverAnswered(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	r := newRelay(t, b.Server.Addr().String())
	nc := r.connect(t)
	w := watchWith(t, durability.Options{
		NC: nc, Monitors: []string{b.Monitor()}, Claimed: power, Every: 20 * time.Millisecond, Limit: time.Hour,
	})
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
	r.silent.Store(true)
	r.question(t)
	r.Cut()
	r.silent.Store(false)
	testbench.Until(t, "it is connected again", func() bool { return nc.IsConnected() && nc.Stats().Reconnects > 0 })
	testbench.Until(t, "it has looked at what it is connected to now", func() bool { return w.Open() == nil })
}

// While webhooks wait, a stream that does not answer is asked again soon: the one
// that was asked may have been about to give up its lead.
func TestStreamThatDoesNotAnswerIsAskedAgainSoon(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	r := newRelay(t, b.Server.Addr().String())
	nc := r.connect(t)
	r.silent.Store(true)
	w := watchWith(t, durability.Options{NC: nc, Link: client{nc}, Monitors: []string{b.Monitor()}, Claimed: power, Limit: time.Hour})
	r.question(t)
	r.question(t)
	r.silent.Store(false)
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
}

// However long the broker was away, what is asked on a new connection is asked in
// a hurry.
func TestFirstLookAfterAnOutageIsInAHurry(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	r := newRelay(t, b.Server.Addr().String())
	nc := r.connect(t)
	w := watchWith(t, durability.Options{NC: nc, Link: client{nc}, Monitors: []string{b.Monitor()}, Claimed: power, Limit: time.Hour})
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
	r.Refuse(true)
	r.Cut()
	testbench.Until(t, "it is disconnected", func() bool { return !nc.IsConnected() })
	for range 12 {
		w.report(t)
	}
	r.mute.Store(true) // It greets, and answers no question.
	r.Refuse(false)
	r.question(t)
	r.question(t)
	r.mute.Store(false)
	testbench.Until(t, "it opens again", func() bool { return w.Open() == nil })
}

// A server that holds the stream and that we are not connected to can start again
// with another policy, and no connection of ours breaks.
func TestServerElsewhereThatComesBackWeakerIsNoticed(t *testing.T) {
	t.Parallel()
	n := newCluster(t, always, always, always)
	w := watchWith(t, durability.Options{NC: n.js.Conn(), Monitors: n.monitors, Claimed: all, Every: time.Hour})
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
	n.restart(t, 2, lazy)
	testbench.Until(t, "it shuts", func() bool { return w.Open() != nil })
	if n.js.Conn().Stats().Reconnects != 0 {
		t.Error("the connection broke, so this shows nothing")
	}
	n.restart(t, 2, always)
	testbench.Until(t, "it opens again", func() bool { return w.Open() == nil })
}
