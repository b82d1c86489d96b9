package watch_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// roles are the processes that are scraped.
var roles = []string{"gateway", "lookup", "normalize", "sweep", "expect"}

// plant is a deployment of separate processes that a test can break: nats-server with the
// shipped configuration, the roles, and a provider.
type plant struct {
	t       *testing.T
	ctx     context.Context
	dir     string
	bin     string
	broker  string // host:port.
	monitor string // host:port.
	env     []string
	sockets map[string]*net.TCPListener // By process, and process/admin.
	away    int                         // How many payments were sent while something was away.
	rounds  int                         // Of the clock while the provider was away.
	room    int                         // Of a file of the broker, in blocks of 512 bytes; 0 for any.
	running map[string]*exec.Cmd
	js      jetstream.JetStream

	configured string // What the configuration file began with.

	nc   *nats.Conn
	http *http.Client

	provider  *provider
	toConsole *testbench.Proxy // To the broker.
	tls       testbench.Certificate
}

// settingsOf the plant: streams are small, so that they can be filled, and what the gateway
// takes is little. acme is limited, and the provider refuses the credential of broke.
const settingsOfPlant = `profile: local
hash_key: a-key-for-this-test-only-32-bytes
nats: {url: "${NATS_URL}", monitor_url: "${NATS_MONITOR_URL}", user: "${NATS_USER}", password: "${NATS_PASSWORD}"}
topology: {store: 64MiB}
gateway: {admin: "127.0.0.1:0", max_connections: 8, durability: power-loss, body_limit: 64KiB, tls: {certificate: %q, key: %q}}
lookup: {admin: "127.0.0.1:0", providers: [sandbox], ask_timeout: 2s}
normalize: {admin: "127.0.0.1:0"}
sweep: {admin: "127.0.0.1:0", every: 200ms}
expect: {admin: "127.0.0.1:0"}
console: {admin: "127.0.0.1:0", listen: "127.0.0.1:0", index: %[4]q}
providers:
  sandbox:
    delays: [200ms, 400ms, 2h]
    accounts:
      default: {webhook_secrets: [secret-of-default], settings: {base_url: %[3]q, token: good}}
      acme: {webhook_secrets: [secret-of-acme], settings: {base_url: %[3]q, token: good}, limit: {rate: 1, burst: 1}}
      broke: {webhook_secrets: [secret-of-broke], settings: {base_url: %[3]q, token: refused}}
`

func newPlant(t *testing.T) *plant {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	p := &plant{
		t: t, ctx: ctx, dir: t.TempDir(), bin: t.TempDir(), sockets: map[string]*net.TCPListener{}, running: map[string]*exec.Cmd{},
		provider: newProvider(t), tls: testbench.NewCertificate(t),
		http: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // It is the test's own server.
		}},
	}
	t.Cleanup(func() {
		for name := range maps.Clone(p.running) {
			p.kill(name)
		}
		cancel()
		if t.Failed() {
			p.showLogs()
		}
	})
	build := exec.CommandContext(ctx, "go", "build", "-o", p.bin+string(filepath.Separator), "./gateway", "./workers/cmd/expect", "./workers/cmd/lookup",
		"./workers/cmd/console", "./workers/cmd/normalize", "./workers/cmd/sweep", "./workers/cmd/arauto", processtest.NATSServer)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build binaries: %v\n%s", err, out)
	}
	for _, name := range append([]string{"console"}, roles...) {
		p.socket(name + "/admin")
	}
	p.socket("gateway/gateway")
	p.renew(10 * 365 * 24 * time.Hour)
	p.configured = fmt.Sprintf(settingsOfPlant, p.tls.File, p.tls.Key, p.provider.url, filepath.Join(p.dir, "index"))
	p.configure(p.configured)
	p.startBroker("127.0.0.1:-1")
	p.arauto("topology", "topology", "apply")
	for _, role := range roles {
		p.start(role, "-config", p.configOf(role))
	}
	for _, role := range roles {
		p.ready(role)
	}
	return p
}

// hasty are the roles whose minutes pass in seconds: what is expected is judged ten minutes after
// a change, and a provider insists after half an hour.
var hasty = []string{"expect", "normalize"}

// configure writes the files that the roles read.
func (p *plant) configure(text string) {
	p.t.Helper()
	testbench.Must(p.t, os.WriteFile(p.config(), []byte(text), 0o600))
	for _, role := range hasty {
		testbench.Must(p.t, os.WriteFile(p.configOf(role), []byte("time_scale: 60\n"+text), 0o600))
	}
}

// configOf is the file that a role reads.
func (p *plant) configOf(role string) string {
	if slices.Contains(hasty, role) {
		return filepath.Join(p.dir, role+".yaml")
	}
	return p.config()
}

func (p *plant) config() string { return filepath.Join(p.dir, "arauto.yaml") }

func (p *plant) socket(name string) {
	p.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testbench.Must(p.t, err)
	p.t.Cleanup(func() { _ = l.Close() }) // Only ever handed on.
	p.sockets[name] = l.(*net.TCPListener)
}

func (p *plant) address(name string) string { return p.sockets[name].Addr().String() }

// startBroker runs nats-server with deploy/nats.conf and a user test who may do everything.
func (p *plant) startBroker(address string, change ...func(string) string) {
	p.t.Helper()
	conf, env, err := processtest.Shipped(filepath.Join(root, "deploy/nats.conf"), p.dir, address, "127.0.0.1:-1", filepath.Join(p.dir, "store"))
	testbench.Must(p.t, err)
	for _, c := range change {
		text, err := os.ReadFile(conf)
		testbench.Must(p.t, err)
		testbench.Must(p.t, os.WriteFile(conf, []byte(c(string(text))), 0o600))
	}
	if p.monitor != "" { // The roles know it already.
		text, err := os.ReadFile(conf)
		testbench.Must(p.t, err)
		testbench.Must(p.t, os.WriteFile(conf, []byte(strings.Replace(string(text), `http: "127.0.0.1:-1"`, `http: "`+p.monitor+`"`, 1)), 0o600))
	}
	p.env = env
	p.start("nats-server", "-c", conf)
	p.until("nats-server to listen", func() (ok bool) {
		p.broker, p.monitor, ok = processtest.Listening(p.dir, p.running["nats-server"].Process.Pid)
		return ok
	})
	if p.nc == nil {
		p.nc, err = nats.Connect("nats://"+p.broker, nats.UserInfo("test", "test"), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.PermissionErrOnSubscribe(true))
		testbench.Must(p.t, err)
		p.t.Cleanup(p.nc.Close)
		p.js, err = jetstream.New(p.nc)
		testbench.Must(p.t, err)
	}
}

// restartBroker has the broker run as shipped, and waits until every role is ready again.
func (p *plant) restartBroker() {
	p.t.Helper()
	p.kill("nats-server")
	p.startBroker(p.broker)
	for _, role := range roles {
		p.ready(role)
	}
}

func (p *plant) command(user, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(p.ctx, filepath.Join(p.bin, name), args...)
	c.Env = append(os.Environ(), "NATS_URL=nats://"+p.broker, "NATS_MONITOR_URL=http://"+p.monitor, "NATS_USER="+user, "NATS_PASSWORD="+user+"pw", "ARAUTO_BY=tester")
	c.Env = append(c.Env, p.env...)
	return c
}

// start runs a binary in the background with its sockets.
func (p *plant) start(name string, args ...string) {
	p.t.Helper()
	c := p.command(name, name, args...)
	if name == "console" {
		c.Env = append(c.Env, "NATS_URL=nats://"+p.toConsole.Addr)
	}
	if p.room > 0 && name == "nats-server" {
		c.Path, c.Args = "/bin/sh", append([]string{"sh", "-c", fmt.Sprintf(`ulimit -f %d; exec "$@"`, p.room), "sh"}, c.Args...)
	}
	err := processtest.Start(c, filepath.Join(p.dir, name+".log"), map[string]*net.TCPListener{name: p.sockets[name+"/"+name], "admin": p.sockets[name+"/admin"]})
	if err != nil {
		p.t.Fatalf("start %s: %v", name, err)
	}
	p.running[name] = c
}

// restart starts a role and waits until it is ready.
func (p *plant) restart(role string) {
	p.t.Helper()
	p.start(role, "-config", p.configOf(role))
	p.ready(role)
}

func (p *plant) ready(role string) {
	p.t.Helper()
	p.until(role+" to be ready", func() bool {
		status, _, _ := p.get("http://" + p.address(role+"/admin") + "/readyz")
		return status == http.StatusOK
	})
}

// kill ends a process with SIGKILL and waits until it is gone.
func (p *plant) kill(name string) {
	c := p.running[name]
	if c == nil {
		return
	}
	delete(p.running, name)
	_ = c.Process.Signal(syscall.SIGKILL) // It may have ended.
	_ = c.Wait()                          // It says that it was killed.
}

func (p *plant) until(what string, met func() bool) {
	p.t.Helper()
	if !testbench.Poll(p.ctx, met) {
		p.t.Fatalf("waited in vain for %s", what)
	}
}

// arauto runs the operator's command.
func (p *plant) arauto(user string, args ...string) {
	p.t.Helper()
	out, err := p.command(user, "arauto", append(args, "--config", p.config())...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("arauto %v: %v\n%s", args, err, out)
	}
}

// asked has a payment looked up until it is paid. What failed waits for its own time, which is
// two hours here, and a look-up that is under way may fail after the operator's command.
func (p *plant) asked(payment string) {
	p.t.Helper()
	orders, err := p.js.Stream(p.ctx, subject.Orders)
	testbench.Must(p.t, err)
	p.until(payment+" to be paid", func() bool {
		_, err := orders.GetLastMsgForSubject(p.ctx, "orders.sandbox.default."+payment+".*.paid")
		if err != nil {
			_ = p.command("operator", "arauto", "retry", "now", payment, "--config", p.config()).Run() // It fails while none is scheduled.
		}
		return err == nil
	})
}

// get reads a page as Prometheus does, status 0 without an answer.
func (p *plant) get(target string) (status int, body []byte, contentType string) {
	request, err := http.NewRequestWithContext(p.ctx, http.MethodGet, target, nil)
	testbench.Must(p.t, err)
	request.Header.Set("Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
	return p.do(request)
}

func (p *plant) do(request *http.Request) (status int, body []byte, contentType string) {
	answer, err := p.http.Do(request)
	if err != nil {
		return 0, nil, ""
	}
	defer answer.Body.Close()
	if body, err = io.ReadAll(answer.Body); err != nil {
		return 0, nil, ""
	}
	return answer.StatusCode, body, answer.Header.Get("Content-Type")
}

// call sends a request to the gateway, once.
func (p *plant) call(method, path, credential, body string) int {
	request, err := http.NewRequestWithContext(p.ctx, method, "https://"+p.address("gateway/gateway")+path, strings.NewReader(body))
	testbench.Must(p.t, err)
	request.Header.Set("Authorization", credential)
	status, _, _ := p.do(request)
	return status
}

// notify sends an account's webhook about a payment until it is accepted.
func (p *plant) notify(account, payment string) {
	p.t.Helper()
	p.until("the webhook of "+payment+" to be accepted", func() bool {
		return p.call(http.MethodPost, "/v1/sandbox/"+account+"/notifications", "secret-of-"+account, fmt.Sprintf(`{"payment":%q}`, payment)) == http.StatusOK
	})
}

// raw opens a connection to the gateway and writes text on it.
func (p *plant) raw(config *tls.Config, text string) (net.Conn, error) {
	conn, err := (&tls.Dialer{Config: config}).DialContext(p.ctx, "tcp", p.address("gateway/gateway"))
	if err == nil && text != "" {
		_, err = io.WriteString(conn, text)
	}
	return conn, err
}

// renew writes a certificate for the gateway that is valid for so long.
func (p *plant) renew(valid time.Duration) {
	p.tls.Renew(p.t, time.Now().Add(-time.Hour), time.Now().Add(valid))
}

// fill stores messages of 200 KB on a subject until the stream holds so many bytes.
func (p *plant) fill(stream, subject string, bytes int) {
	p.t.Helper()
	size := 200_000
	if stream == "EXPECTATIONS" { // It takes no message above 16 KiB.
		size = 15_000
	}
	for n := 0; n < bytes; n += size {
		on := subject
		if strings.Contains(on, "%d") {
			on = fmt.Sprintf(on, n)
		}
		if _, err := p.js.Publish(p.ctx, on, make([]byte, size)); err != nil {
			p.t.Fatalf("fill %s: %v", stream, err)
		}
	}
}

// purge removes all messages of a stream on a subject.
func (p *plant) purge(stream, subject string) {
	p.t.Helper()
	s, err := p.js.Stream(p.ctx, stream)
	if err == nil {
		err = s.Purge(p.ctx, jetstream.WithPurgeSubject(subject))
	}
	testbench.Must(p.t, err)
}

func (p *plant) showLogs() {
	logs, err := filepath.Glob(filepath.Join(p.dir, "*.log"))
	if err != nil {
		p.t.Log(err)
	}
	slices.Sort(logs)
	for _, name := range logs {
		if data, err := os.ReadFile(name); err == nil {
			p.t.Logf("%s ends with:\n%s", filepath.Base(name), data[max(0, len(data)-2000):])
		}
	}
}

// distrusts reports whether a client that does not know the certificate refuses it.
func (p *plant) distrusts() bool {
	conn, err := p.raw(&tls.Config{}, "")
	if err == nil {
		_ = conn.Close()
	}
	unknown := new(tls.CertificateVerificationError)
	return errors.As(err, &unknown)
}
