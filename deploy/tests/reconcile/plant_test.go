package reconcile_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/process/processtest"
)

// root is the repository, seen from this folder.
const root = "../../../"

// bin holds the real binaries, built once for all tests of this package.
var bin string

func TestMain(m *testing.M) {
	os.Exit(processtest.Main(m, &bin, "arauto/gateway", "arauto/workers/cmd/lookup", "arauto/workers/cmd/normalize", "arauto/workers/cmd/sweep",
		"arauto/deploy/tools/simulator", "arauto/workers/cmd/arauto", processtest.NATSServer))
}

// broker is the name of its binary; roles are ours.
const broker = "nats-server"

func roles() []string { return []string{"gateway", "lookup", "normalize", "sweep"} }

// plant is a deployment of separate processes: nats-server with the users of
// deploy/nats.conf, and every role behind a wire of its own.
type plant struct {
	t       *testing.T
	ctx     context.Context
	dir     string
	store   string // Folder of the broker's store.
	address string // Of the broker, host:port.
	monitor string // Of its monitoring, host:port.
	gateway *net.TCPListener
	sim     *net.TCPListener
	sockets map[string]*net.TCPListener // By the name of who listens.
	wires   map[string]*wire
	js      jetstream.JetStream
	http    *http.Client

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
	ctx, cancel := context.WithTimeout(context.Background(), limit) //nolint:usetesting // It must outlive the test's own end, to stop the processes in order.
	p := &plant{
		t: t, ctx: ctx, dir: t.TempDir(), store: store, running: map[string]*child{}, ended: map[string]int{}, wires: map[string]*wire{},
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	t.Cleanup(func() {
		p.http.CloseIdleConnections()
		for _, name := range append(roles(), "simulator", broker) {
			p.kill(name)
		}
		cancel()
		if t.Failed() {
			p.showLogs()
		}
	})
	p.gateway, p.sim = p.socket(), p.socket()
	p.sockets = map[string]*net.TCPListener{"gateway": p.gateway, "simulator": p.sim}
	if err := os.WriteFile(p.config(), []byte(configuration(p.sim.Addr().String())), 0o600); err != nil {
		t.Fatal(err)
	}
	p.address, p.monitor = "127.0.0.1:-1", "127.0.0.1:-1"
	p.start(broker)
	p.address, p.monitor = p.listening()
	p.connect()
	apply := p.command("arauto", "topology", "apply", "--config", p.config())
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("apply topology: %v\n%s", err, out)
	}
	p.start("simulator")
	for _, role := range roles() {
		p.wires[role] = newWire(t, p.address)
		p.start(role)
	}
	return p
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
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = l.Close() }) // Only ever handed on.
	return l
}

// connect opens the test's own connection, around the wires, as a user who
// may do everything.
func (p *plant) connect() {
	p.t.Helper()
	nc, err := nats.Connect("nats://"+p.address, nats.UserInfo("test", "test"),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	if p.js, err = jetstream.New(nc); err != nil {
		p.t.Fatal(err)
	}
}

// brokerConfig is deploy/nats.conf on an address and a store of the test's
// own, with the test's user.
func (p *plant) brokerConfig() (string, error) {
	shipped, err := os.ReadFile(root + "deploy/nats.conf")
	if err != nil {
		return "", err
	}
	text := string(shipped)
	for old, changed := range map[string]string{
		`listen: "0.0.0.0:4222"`: `listen: "` + p.address + `"`,
		`http: "127.0.0.1:8222"`: `http: "` + p.monitor + `", ports_file_dir: "` + p.dir + `"`,
		`store_dir: "/data"`:     `store_dir: "` + p.store + `"`,
		"users: [\n":             "users: [ {user: test, password: test}\n",
	} {
		if strings.Count(text, old) != 1 {
			return "", fmt.Errorf("deploy/nats.conf has %q %d times, this test expects it once", old, strings.Count(text, old))
		}
		text = strings.Replace(text, old, changed, 1)
	}
	name := filepath.Join(p.dir, "nats.conf")
	return name, os.WriteFile(name, []byte(text), 0o600)
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
func (p *plant) poll(done func() bool) bool {
	for !done() {
		if !pause(p.ctx, 25*time.Millisecond) {
			return false
		}
	}
	return true
}

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

// password is a variable of deploy/nats.conf.
var password = regexp.MustCompile(`\$(NATS_([A-Z]+)_PASSWORD)`)

// command prepares a binary with the environment of the broker user of its
// name; the operator's command is the user topology.
func (p *plant) command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(p.ctx, filepath.Join(bin, name), args...)
	user, address := name, p.address
	if w := p.wires[name]; w != nil {
		address = w.listener.Addr().String()
	}
	if name == "arauto" {
		user = "topology"
	}
	c.Env = append(os.Environ(), "NATS_URL=nats://"+address, "NATS_MONITOR_URL=http://"+p.monitor, "NATS_USER="+user, "NATS_PASSWORD="+user+"pw")
	shipped, err := os.ReadFile(root + "deploy/nats.conf")
	if err != nil {
		p.t.Error(err)
	}
	for _, m := range password.FindAllStringSubmatch(string(shipped), -1) {
		c.Env = append(c.Env, m[1]+"="+strings.ToLower(m[2])+"pw")
	}
	return c
}
