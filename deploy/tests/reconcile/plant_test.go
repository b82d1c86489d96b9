package reconcile_test

import (
	"context"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
)

// root is the repository, seen from this folder.
const root = "../../../"

// bin holds the real binaries, built once for all tests of this package.
var bin string

func TestMain(m *testing.M) {
	os.Exit(processtest.Main(m, &bin, "arauto/gateway", "arauto/workers/cmd/lookup", "arauto/workers/cmd/normalize", "arauto/workers/cmd/sweep", "arauto/workers/cmd/expect",
		"arauto/deploy/tools/simulator", "arauto/workers/cmd/arauto", processtest.NATSServer))
}

// broker is the name of its binary; roles are ours.
const broker = "nats-server"

func roles() []string { return []string{"gateway", "lookup", "normalize", "sweep", "expect"} }

// plant is a deployment of separate processes: nats-server with the users of
// deploy/nats.conf, and every role behind a wire of its own; or three of nats-server, as
// deploy/nats-cluster.conf has them, and no wires.
type plant struct {
	t       *testing.T
	ctx     context.Context
	dir     string
	store   string             // Folder of the broker's store.
	address string             // Of the broker, host:port.
	monitor string             // Of its monitoring, host:port.
	members map[string]*member // Of the cluster, by name; nil without one.
	gateway *net.TCPListener
	sim     *net.TCPListener
	sockets map[string]*net.TCPListener // By the name of who listens.
	wires   map[string]*wire
	js      jetstream.JetStream
	http    *http.Client
	old     *binaries // An earlier commit, of which a process is named role@old; nil but in the test of upgrades.
	conf    string    // The nats.conf that the broker gets.

	// settled is held while the configuration of a stream changes, during which
	// the broker is not killed: it writes the configuration and its checksum one
	// after the other, and does not restore a stream whose two do not match.
	settled sync.Mutex

	// traffic is held while nothing may be sent, and read-held while something
	// is; sweeping is held by whoever kills and starts sweep.
	traffic  sync.RWMutex
	sweeping sync.Mutex
	witness  *witness

	mu      sync.Mutex
	running map[string]*child
	ended   map[string]int // By itself, by name.
}

// build starts everything. It ends with the test, or when limit is over.
func build(t *testing.T, limit time.Duration) *plant {
	t.Helper()
	return buildOn(t, limit, filepath.Join(t.TempDir(), "store"))
}

// buildOn is build with the broker's store in a folder of the caller's.
func buildOn(t *testing.T, limit time.Duration, store string) *plant {
	t.Helper()
	p := newPlant(t, limit)
	p.store, p.address, p.monitor = store, "127.0.0.1:-1", "127.0.0.1:-1"
	p.start(broker)
	p.address, p.monitor = p.listening()
	for _, role := range roles() {
		p.wires[role] = newWire(t, p.address)
	}
	p.open(1)
	return p
}

// newPlant is a plant of which nothing runs yet.
func newPlant(t *testing.T, limit time.Duration) *plant {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit) //nolint:usetesting // It must outlive the test's own end, to stop the processes in order.
	p := &plant{
		t: t, ctx: ctx, dir: t.TempDir(), conf: root + "deploy/nats.conf", running: map[string]*child{}, ended: map[string]int{}, wires: map[string]*wire{},
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	t.Cleanup(func() {
		p.http.CloseIdleConnections()
		for _, name := range slices.Concat(roles(), olds(roles()), []string{"simulator", broker}, slices.Collect(maps.Keys(p.members))) {
			p.kill(name)
		}
		cancel()
		if t.Failed() {
			p.showLogs()
		}
	})
	p.gateway, p.sim = p.socket(), p.socket()
	p.sockets = map[string]*net.TCPListener{"gateway": p.gateway, "simulator": p.sim}
	return p
}

// open applies the topology with so many replicas, and starts everything but the broker.
// Until the servers of a cluster have found a leader, they refuse the topology.
func (p *plant) open(replicas int) {
	p.t.Helper()
	testbench.Must(p.t, os.WriteFile(p.config(), []byte(configuration(p.sim.Addr().String(), replicas)), 0o600))
	_, p.js = testbench.Connect(p.t, p.urls(), nats.UserInfo("test", "test")) // Around the wires.
	var out []byte
	var err error
	apply := func() bool {
		out, err = p.command("arauto", "topology", "apply", "--config", p.config()).CombinedOutput()
		return err == nil
	}
	if applied := apply(); !applied && (replicas == 1 || !p.poll(apply)) {
		p.t.Fatalf("apply topology: %v\n%s", err, out)
	}
	p.start("simulator")
	for _, role := range roles() {
		p.start(role)
	}
}

// observe starts the witness.
func (p *plant) observe() {
	p.witness = &witness{js: p.js}
	ctx, cancel := context.WithCancel(p.ctx)
	var copying sync.WaitGroup
	copying.Go(func() { p.witness.watch(ctx) })
	p.t.Cleanup(func() { cancel(); copying.Wait() })
}

func (p *plant) config() string { return filepath.Join(p.dir, "arauto.yaml") }

func (p *plant) socket() *net.TCPListener {
	p.t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	testbench.Must(p.t, err)
	p.t.Cleanup(func() { _ = l.Close() }) // Only ever handed on.
	return l
}

// shipped is deploy/nats.conf on an address and a store of the test's own, with the
// test's user, and the environment with its passwords.
func (p *plant) shipped() (conf string, env []string, err error) {
	return processtest.Shipped(p.conf, p.dir, p.address, p.monitor, p.store)
}

// listening waits for the file in which nats-server says where it listens.
func (p *plant) listening() (address, monitor string) {
	p.t.Helper()
	if !p.poll(func() (ok bool) {
		address, monitor, ok = processtest.Listening(p.dir, p.running[broker].pid())
		return ok && monitor != ""
	}) {
		p.t.Fatal("nats-server does not listen")
	}
	return address, monitor
}

// poll asks until the answer is yes, or reports false when the time is over.
func (p *plant) poll(done func() bool) bool { return testbench.Poll(p.ctx, done) }

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// command prepares a binary with the environment of the broker user of its
// name; the operator's command is the user topology.
func (p *plant) command(name string, args ...string) *exec.Cmd {
	name, of := p.buildOf(name)
	c := exec.CommandContext(p.ctx, filepath.Join(of.bin, name), args...)
	user, urls := name, p.urls()
	if w := p.wires[name]; w != nil {
		urls = "nats://" + w.Addr
	}
	if name == "arauto" {
		user = "topology"
	}
	c.Env = append(os.Environ(), "NATS_URL="+urls, "NATS_MONITOR_URL="+p.monitors(), "NATS_USER="+user, "NATS_PASSWORD="+user+"pw")
	return c
}
