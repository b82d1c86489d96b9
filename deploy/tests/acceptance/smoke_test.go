package acceptance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
)

// smokeConfig is a configuration as production writes it: broker users,
// secrets from the environment, one file for every role. Spans go to the test.
const smokeConfig = `profile: production
hash_key: ${ARAUTO_HASH_KEY}
nats: {url: "${NATS_URL}", user: "${NATS_USER}", password: "${NATS_PASSWORD}"}
tracing: {endpoint: "${COLLECTOR}", sample_one_in: 1}
gateway: {admin: "127.0.0.1:0"}
lookup: {admin: "127.0.0.1:0", providers: [sandbox]}
normalize: {admin: "127.0.0.1:0"}
sweep: {admin: "127.0.0.1:0"}
expect: {admin: "127.0.0.1:0"}
providers:
  sandbox:
    delays: [200ms, 1s, 2s, 4s, 8s, 16s, 32s]
    accounts:
      default:
        webhook_secrets: ["${SANDBOX_WEBHOOK}"]
        settings: {base_url: "${SANDBOX_URL}", token: "${SANDBOX_TOKEN}"}
`

// plant is a deployment of separate processes: nats-server under
// deploy/nats.conf with its users, and the roles.
type plant struct {
	t       *testing.T
	ctx     context.Context
	dir     string
	broker  string // host:port
	gateway *net.TCPListener
	sim     *net.TCPListener
	running map[string]*exec.Cmd

	collector *testbench.Collector
	passwords []string // Variables of the environment.
}

// TestSeparateProcessesSurviveTheirDeaths runs the real binaries against a
// real nats-server process, kills the broker and a worker with SIGKILL, and
// wants every accepted notification to end in its event.
func TestSeparateProcessesSurviveTheirDeaths(t *testing.T) {
	t.Parallel()
	p := build(t)
	p.startBroker("127.0.0.1:-1")
	if out, err := p.command("topology", "arauto", "topology", "apply", "--config", p.config()).CombinedOutput(); err != nil {
		t.Fatalf("apply topology: %v\n%s", err, out)
	}
	p.start("simulator", p.sim, "-gateway", "http://"+p.gateway.Addr().String())
	p.start("gateway", p.gateway, "-config", p.config())
	p.start("lookup", nil, "-config", p.config())
	p.start("normalize", nil, "-config", p.config())
	p.start("sweep", nil, "-config", p.config())
	p.start("expect", nil, "-config", p.config())

	accepted := 0
	for i := range 60 {
		switch i {
		case 20:
			p.kill("nats-server")
			p.startBroker(p.broker)
		case 40:
			p.kill("lookup")
			p.start("lookup", nil, "-config", p.config())
		}
		p.deliver(fmt.Sprintf("s-%d", i))
		accepted++
	}
	if got := p.events(accepted); got != accepted {
		t.Errorf("%d notifications led to %d events", accepted, got)
	}
	if out, err := p.command("operator", "arauto", "expect", "sandbox", "default", "expected", "--order", "o", "--config", p.config()).CombinedOutput(); err != nil {
		t.Fatalf("expect a payment: %v\n%s", err, out) // From the first one on, expect handles events.
	}
	event := p.deliverTraced("traced")
	for _, role := range []string{"gateway", "lookup", "normalize", "sweep", "expect"} {
		testbench.Must(t, p.running[role].Process.Signal(syscall.SIGHUP))
		p.poll(role+" to read its configuration again", func() bool { return p.logged(role, "config.reloaded") > 0 })
		if err := p.stop(role); err != nil {
			t.Errorf("%s did not stop cleanly: %v", role, err)
		}
	}
	p.checkTrace(event)
	p.checkSubscriber("traced")
}

func build(t *testing.T) *plant {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	p := &plant{t: t, ctx: ctx, dir: t.TempDir(), running: map[string]*exec.Cmd{}}
	t.Cleanup(func() {
		for name := range p.running {
			p.kill(name)
		}
		cancel()
		if t.Failed() {
			p.showLogs()
		}
	})
	p.gateway, p.sim, p.collector = p.socket(), p.socket(), testbench.StartCollector(t)
	testbench.Must(t, os.WriteFile(p.config(), []byte(smokeConfig), 0o600))
	return p
}

func (p *plant) config() string { return filepath.Join(p.dir, "arauto.yaml") }

func (p *plant) socket() *net.TCPListener {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(p.t, err)
	p.t.Cleanup(func() { _ = l.Close() }) // Only ever handed on.
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		p.t.Fatalf("listener is a %T", l)
	}
	return tcp
}

// startBroker runs nats-server with deploy/nats.conf, on an address and a
// store of the test's own and with one more user that may read everything.
func (p *plant) startBroker(address string) {
	p.t.Helper()
	conf, env, err := processtest.Shipped(root+"deploy/nats.conf", p.dir, address, "", filepath.Join(p.dir, "store"))
	testbench.Must(p.t, err)
	p.passwords = env
	p.start("nats-server", nil, "-c", conf)
	p.broker = p.brokerAddress()
}

// brokerAddress waits for the file in which nats-server says where it listens.
func (p *plant) brokerAddress() string {
	p.t.Helper()
	var address string
	p.poll("nats-server to listen", func() (ok bool) {
		address, _, ok = processtest.Listening(p.dir, p.running["nats-server"].Process.Pid)
		return ok
	})
	return address
}

func (p *plant) poll(what string, done func() bool) {
	p.t.Helper()
	if !testbench.Poll(p.ctx, done) {
		p.t.Fatalf("waited in vain for %s", what)
	}
}

// command prepares a binary with the environment of a broker user.
func (p *plant) command(user, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(p.ctx, filepath.Join(bin, name), args...)
	c.Env = append(os.Environ(),
		"ARAUTO_HASH_KEY=a-key-for-this-test-only-32-bytes", "NATS_URL=nats://"+p.broker,
		"NATS_USER="+user, "NATS_PASSWORD="+user+"pw",
		"SANDBOX_WEBHOOK=sandbox-local-token", "SANDBOX_TOKEN=sandbox-lookup-token",
		"COLLECTOR="+p.collector.URL,
		"SANDBOX_URL=http://"+p.sim.Addr().String()+"/sandbox")
	c.Env = append(c.Env, p.passwords...)
	return c
}

// start runs a binary in the background, handing it a socket to listen on if
// there is one.
func (p *plant) start(name string, socket *net.TCPListener, args ...string) {
	p.t.Helper()
	c := p.command(name, name, args...)
	if err := processtest.Start(c, filepath.Join(p.dir, name+".log"), map[string]*net.TCPListener{name: socket}); err != nil {
		p.t.Fatalf("start %s: %v", name, err)
	}
	p.running[name] = c
}

// kill ends a process with SIGKILL and waits until it is gone.
func (p *plant) kill(name string) {
	c := p.running[name]
	delete(p.running, name)
	if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("kill %s: %v", name, err)
	}
	_ = c.Wait() // It says that it was killed.
}

// stop ends a process as an orchestrator does and returns how it ended.
func (p *plant) stop(name string) error {
	c := p.running[name]
	delete(p.running, name)
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return c.Wait()
}

// deliver sets a payment at the provider and sends its webhook until the
// gateway answers 200, as a provider repeats what was not.
func (p *plant) deliver(payment string) {
	p.t.Helper()
	p.poll("the simulator to take "+payment, func() bool {
		return p.request(http.MethodPut, "http://"+p.sim.Addr().String()+"/_sim/sandbox/default/payments/"+payment, `{"status":"paid"}`)
	})
	p.poll("the gateway to accept "+payment, func() bool {
		return p.request(http.MethodPost, "http://"+p.gateway.Addr().String()+"/v1/sandbox/notifications", fmt.Sprintf(`{"payment":%q}`, payment))
	})
}

func (p *plant) request(method, target, body string) bool {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	testbench.Must(p.t, err)
	request.Header.Set("Authorization", "sandbox-local-token")
	request.Close = true
	response, err := (&http.Client{}).Do(request) // The request closes its connection, so nothing is left open.
	if err != nil {
		return false
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	_, err = io.Copy(io.Discard, response.Body)
	return err == nil && response.StatusCode == http.StatusOK
}

// events waits until ORDERS holds at least want events, and says how many.
func (p *plant) events(want int) int {
	p.t.Helper()
	_, js := testbench.Connect(p.t, "nats://"+p.broker, nats.UserInfo("test", "test"))
	got := 0
	p.poll(fmt.Sprintf("%d events", want), func() bool {
		stream, err := js.Stream(p.ctx, "ORDERS")
		if err != nil {
			return false
		}
		got = int(stream.CachedInfo().State.Msgs) //nolint:gosec // A test's events are few.
		return got >= want
	})
	return got
}

func (p *plant) showLogs() {
	logs, err := filepath.Glob(filepath.Join(p.dir, "*.log"))
	if err != nil {
		p.t.Log(err)
	}
	for _, name := range logs {
		if data, err := os.ReadFile(name); err == nil {
			p.t.Logf("%s ends with:\n%s", filepath.Base(name), data[max(0, len(data)-2000):])
		}
	}
}
