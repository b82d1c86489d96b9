package durability_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/subject"
)

func TestMain(m *testing.M) {
	processtest.ServeFillable()
	testbench.Main(m)
}

func always(o *server.Options) { o.SyncAlways = true }

func lazy(o *server.Options) { o.SyncAlways, o.SyncInterval = false, 0 }

// declared is NOTIFICATIONS as the topology makes it, with one thing changed.
func declared(t *testing.T, replicas int, change func(*jetstream.StreamConfig)) jetstream.StreamConfig {
	t.Helper()
	for _, c := range topology.Streams(topology.Settings{Replicas: replicas, Store: testbench.Store}) {
		if c.Name == subject.Notifications {
			if change != nil {
				change(&c)
			}
			return c
		}
	}
	t.Fatal("the topology has no NOTIFICATIONS")
	return jetstream.StreamConfig{}
}

// broker runs a monitored one that holds the stream.
func broker(t *testing.T, change func(*jetstream.StreamConfig), options ...func(*server.Options)) *testbench.Broker {
	t.Helper()
	b := testbench.StartEmpty(t, append(options, testbench.Monitored)...)
	if _, err := b.JS.CreateStream(testbench.Context(t), declared(t, 1, change)); err != nil {
		t.Fatal(err)
	}
	return b
}

func judged(t *testing.T, js jetstream.JetStream, monitors ...string) (durability.Facts, durability.Verdict) {
	t.Helper()
	f, err := durability.NewReader(js, monitors).Read(testbench.Context(t))
	testbench.Must(t, err)
	return f, durability.Judge(f)
}

func TestRealBrokerIsSeenAsItIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server func(*server.Options)
		stream func(*jetstream.StreamConfig)
		claim  durability.Claim
		weak   string
	}{
		"always":       {always, nil, power, "replicas"},
		"default sync": {lazy, nil, killed, "sync_interval replicas"},
		"every 100 ms": {func(o *server.Options) { o.SyncInterval = 100 * time.Millisecond }, nil, killed, "sync_interval replicas"},
		"memory":       {always, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, 0, "storage replicas"},
		"asynchronous": {always, func(c *jetstream.StreamConfig) {
			c.PersistMode, c.AllowAtomicPublish = jetstream.AsyncPersistMode, false
		}, 0, "persist_mode replicas"},
		"drops the old": {always, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, 0, "discard replicas"},
		"one hour":      {always, func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Hour, time.Minute }, 0, "max_age replicas"},
		"five days":     {always, func(c *jetstream.StreamConfig) { c.MaxAge = 120 * time.Hour }, power, "replicas"},
		"interest":      {always, func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, 0, "retention replicas"},
		"per subject":   {always, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 2 }, 0, "max_msgs_per_subject replicas"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := broker(t, c.stream, c.server)
			f, v := judged(t, b.JS, b.Monitor())
			var named []string
			for _, w := range v.Weak {
				named = append(named, w.Setting)
			}
			if got := strings.Join(named, " "); v.Claim != c.claim || got != c.weak {
				t.Errorf("claim %v with the weak settings %q, want %v with %q; facts %+v", v.Claim, got, c.claim, c.weak, f)
			}
			if f.Version != server.VERSION || len(f.Servers) != 1 || f.Servers[0].Name != "test" || f.Servers[0].StoreLimit != testbench.Store {
				t.Errorf("facts are %+v", f)
			}
		})
	}
}

func TestFillLevelIsWarnedOfBeforeItIsFull(t *testing.T) {
	t.Parallel()
	b := broker(t, func(c *jetstream.StreamConfig) { c.MaxBytes = 100 << 10 }, always)
	for i := range 9 {
		if _, err := b.JS.Publish(testbench.Context(t), "notifications.p.a."+strconv.Itoa(i), make([]byte, 10<<10)); err != nil {
			t.Fatal(err)
		}
	}
	f, v := judged(t, b.JS, b.Monitor())
	if f.Messages != 9 || f.Bytes < 90<<10 || f.MaxBytes != 100<<10 || v.Claim != power {
		t.Errorf("claim %v, facts %+v", v.Claim, f)
	}
	if last := v.Weak[len(v.Weak)-1]; last.Setting != "fill" || !strings.HasPrefix(last.Have, "90 % of") {
		t.Errorf("weak are %v", v.Weak)
	}
}

func TestPolicyThatNobodyShowsIsUnknown(t *testing.T) {
	t.Parallel()
	b, other := broker(t, nil, always), broker(t, nil, always)
	named := broker(t, nil, always, func(o *server.Options) { o.ServerName = "another" })
	page := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	for name, c := range map[string]struct {
		monitors []string
		problem  string
	}{
		"no address":                      {nil, "nats.monitor_url is not set"},
		"nobody there":                    {[]string{"http://127.0.0.1:1"}, "connection refused"},
		"no broker":                       {[]string{page.URL}, "answers with status 404"},
		"another server":                  {[]string{named.Monitor()}, "none of the addresses in nats.monitor_url is that of this server"},
		"another server of the same name": {[]string{other.Monitor()}, "shows another server of the name test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, v := judged(t, b.JS, c.monitors...)
			if f.Sync != durability.Unseen || v.Claim != killed || !strings.Contains(f.Servers[0].Problem, c.problem) {
				t.Errorf("claim %v, facts %+v", v.Claim, f)
			}
		})
	}
}

func TestMonitorThatGoesAwayLeavesWhatWasSeen(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	to, err := url.Parse(b.Monitor())
	testbench.Must(t, err)
	front := httptest.NewServer(proxy(to))
	t.Cleanup(front.Close)
	r := durability.NewReader(b.JS, []string{front.URL})
	before, err := r.Read(testbench.Context(t))
	if err != nil || before.Sync != durability.Always {
		t.Fatalf("%+v, %v", before, err)
	}
	front.Close()
	after, err := r.Read(testbench.Context(t))
	if err != nil || after.Sync != durability.Always || after.Servers[0].SeenAt != before.Servers[0].SeenAt || after.Servers[0].Problem == "" {
		t.Errorf("%+v, %v", after, err)
	}
}

// TestServerThatWasStartedAgainIsNotKnown has a name of its own, as the servers
// of a cluster do, and shows nothing when it is back.
func TestServerThatWasStartedAgainIsNotKnown(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always, func(o *server.Options) { o.ServerName = "nats-1" })
	to, err := url.Parse(b.Monitor())
	testbench.Must(t, err)
	front := httptest.NewServer(proxy(to))
	t.Cleanup(front.Close)
	r := durability.NewReader(b.JS, []string{front.URL})
	if before, err := r.Read(testbench.Context(t)); err != nil || before.Sync != durability.Always {
		t.Fatalf("%+v, %v", before, err)
	}
	front.Close()
	b.Stop()
	b.Restart(lazy)
	testbench.Until(t, "it is connected again", func() bool { return b.NC.IsConnected() && b.NC.Stats().Reconnects == 1 })
	if after, err := r.Read(testbench.Context(t)); err != nil || after.Sync != durability.Unseen || after.Servers[0].Name != "nats-1" {
		t.Errorf("%+v, %v", after, err)
	}
}

func TestMissingStreamIsAnError(t *testing.T) {
	t.Parallel()
	b := testbench.StartEmpty(t, testbench.Monitored)
	if f, err := durability.NewReader(b.JS, []string{b.Monitor()}).Read(testbench.Context(t)); err == nil {
		t.Errorf("facts without a stream: %+v", f)
	}
}

// TestClusterIsAsStrongAsItsWeakestServer holds the one server that is not
// like the others to account, and the one that nobody can see.
func TestClusterIsAsStrongAsItsWeakestServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		third func(*server.Options)
		shown int
		sync  durability.Sync
		claim durability.Claim
	}{
		"all sync always": {always, 3, durability.Always, all},
		"one is lazy":     {lazy, 3, durability.Lazily, node},
		"one is not seen": {always, 2, durability.Unseen, node},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newCluster(t, always, always, c.third)
			f, v := judged(t, n.js, n.monitors[:c.shown]...)
			if f.Sync != c.sync || v.Claim != c.claim || len(f.Servers) != 3 || f.Replicas != 3 {
				t.Errorf("claim %v, facts %+v", v.Claim, f)
			}
		})
	}
}

// nodes are the servers of a cluster.
type nodes struct {
	js       jetstream.JetStream // On the first.
	monitors []string
	servers  []*server.Server
	options  []server.Options
}

// newCluster starts servers with the given options and the stream on all of them.
func newCluster(t *testing.T, each ...func(*server.Options)) *nodes {
	t.Helper()
	ports := processtest.FreePorts(t, len(each))
	n := &nodes{servers: make([]*server.Server, len(each))}
	for i, change := range each {
		o := server.Options{
			ServerName: "n" + strconv.Itoa(i+1), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
			JetStreamMaxStore: testbench.Store, NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]},
		}
		for _, port := range ports {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
		}
		testbench.Monitored(&o)
		n.options = append(n.options, o)
		n.start(t, i, change)
		shown := n.servers[i].MonitorAddr()
		n.options[i].HTTPPort = shown.Port // It stays the same when the server starts again.
		n.monitors = append(n.monitors, "http://"+shown.String())
	}
	n.serve(t)
	return n
}

func (n *nodes) start(t *testing.T, i int, change func(*server.Options)) {
	t.Helper()
	o := n.options[i]
	change(&o)
	n.servers[i] = testbench.Serve(t, &o)
}

// restart stops a server and starts it with other options on the same store.
func (n *nodes) restart(t *testing.T, i int, change func(*server.Options)) {
	t.Helper()
	n.servers[i].Shutdown()
	n.servers[i].WaitForShutdown()
	n.start(t, i, change)
}

// serve connects to the first server and declares the stream.
func (n *nodes) serve(t *testing.T) {
	t.Helper()
	_, n.js = testbench.Connect(t, n.servers[0].ClientURL())
	config := declared(t, len(n.servers), nil)
	testbench.Until(t, "the cluster takes the stream and shows all of its servers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // Without a leader, nobody answers.
		defer cancel()
		stream, err := n.js.CreateOrUpdateStream(ctx, config)
		return err == nil && len(stream.CachedInfo().Cluster.Replicas) == len(n.servers)-1
	})
}

// Webhooks wait for the look after a reconnect. They must not wait for the
// monitoring address of a host that is gone, once enough is known.
func TestSilentMonitoringAddressIsNotWaitedForWhenEnoughIsKnown(t *testing.T) {
	t.Parallel()
	b := broker(t, nil, always)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }))
	defer silent.Close()
	began := time.Now()
	w := watch(t, b, power, silent.URL, b.Monitor())
	testbench.Until(t, "it opens", func() bool { return w.Open() == nil })
	if took := time.Since(began); took >= time.Second {
		t.Errorf("a watcher opens after %v, the address has one second", took)
	}
	r := durability.NewReader(b.JS, []string{silent.URL, b.Monitor()})
	for name, read := range map[string]func(context.Context) (durability.Facts, error){
		"soon": func(ctx context.Context) (durability.Facts, error) { return r.ReadSoon(ctx, time.Minute) }, "whole": r.Read,
	} {
		began := time.Now()
		facts, err := read(testbench.Context(t))
		took := time.Since(began)
		if err != nil || facts.Sync != durability.Always || len(facts.Servers) != 1 || facts.Servers[0].Problem != "" {
			t.Errorf("%s: facts are %+v, %v", name, facts, err)
		}
		if whole := took >= time.Second; whole != (name == "whole") {
			t.Errorf("%s: it took %v, the address has one second", name, took)
		}
	}
	// A holder that nobody knows is waited for.
	lonely := durability.NewReader(b.JS, []string{silent.URL})
	if facts, err := lonely.ReadSoon(testbench.Context(t), time.Minute); err != nil || facts.Sync != durability.Unseen || !strings.Contains(facts.Servers[0].Problem, silent.URL) {
		t.Errorf("without the broker's own address: %+v, %v", facts, err)
	}
}
