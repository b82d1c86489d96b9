package privacy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/process/processtest"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// root is the repository's, as seen from this package.
const root = "../../../"

// bin holds the real binaries, built once for all tests of this package.
var bin string

func TestMain(m *testing.M) {
	os.Exit(processtest.Main(m, &bin, "arauto/gateway", "arauto/workers/cmd/lookup", "arauto/workers/cmd/normalize", "arauto/workers/cmd/sweep", "arauto/workers/cmd/expect", "arauto/workers/cmd/console",
		"arauto/deploy/tools/simulator", "arauto/workers/cmd/arauto", processtest.NATSServer))
}

// accounts are the merchants that the simulator knows.
var accounts = []string{provider.DefaultAccount, "acme"}

// roles are the processes of a deployment beside the broker.
var roles = []string{"gateway", "lookup", "normalize", "sweep", "expect", "console"}

// hashKey is the deployment's key of hashed ids, a secret too.
const hashKey = "canary-hash-key-of-this-deployment-0123456789"

// plant is a deployment of separate processes: nats-server with the shipped configuration
// and its users, the roles, the simulator, and the proxy through which look-ups go.
type plant struct {
	testbench.Bench
	dir     string
	broker  string // host:port.
	monitor string // host:port.
	proxy   *proxy
	traces  *testbench.Collector
	sockets map[string]*net.TCPListener // By process and socket.
	running map[string]*exec.Cmd
	env     []string // The passwords at the broker.
	http    *http.Client
}

// newPlant starts everything and waits until it is ready. change changes the shipped
// configuration of the broker.
func newPlant(t *testing.T, change ...func(text string) string) *plant {
	t.Helper()
	p := &plant{
		dir: t.TempDir(), sockets: map[string]*net.TCPListener{}, running: map[string]*exec.Cmd{},
		http: &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	p.T = t
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	p.Ctx = ctx
	t.Cleanup(func() {
		for name := range maps.Clone(p.running) {
			p.kill(name)
		}
		p.http.CloseIdleConnections()
		cancel()
		if t.Failed() {
			p.showLogs()
		}
	})
	for _, name := range append([]string{"simulator", "gateway"}, roles...) {
		p.socket(name)
		p.socket(name + "/admin")
	}
	p.proxy, p.traces = newProxy(t, p.address("simulator")), testbench.StartCollector(t)
	p.Must(os.WriteFile(p.config(), []byte(p.configuration()), 0o600))
	p.startBroker("127.0.0.1:-1", change...)
	if out, err := p.command("topology", "arauto", "topology", "apply", "--config", p.config()).CombinedOutput(); err != nil {
		t.Fatalf("apply topology: %v\n%s", err, out)
	}
	p.start("simulator", "-gateway", "http://"+p.address("gateway"))
	for _, role := range roles {
		p.start(role, "-config", p.config())
	}
	for _, role := range roles {
		p.Until(role+" to be ready", func() bool {
			status, _ := p.get("http://" + p.address(role+"/admin") + "/readyz")
			return status == http.StatusOK
		})
	}
	return p
}

func (p *plant) config() string { return filepath.Join(p.dir, "arauto.yaml") }

// configuration has every provider with every account. A provider whose look-up needs an
// address that its sample lacks has it in the account acme.
func (p *plant) configuration() string {
	var b strings.Builder
	fmt.Fprintf(&b, `profile: local
hash_key: %s
nats: {url: "${NATS_URL}", monitor_url: "${NATS_MONITOR_URL}", user: "${NATS_USER}", password: "${NATS_PASSWORD}"}
tracing: {endpoint: "%s", sample_one_in: 1}
topology: {store: 8GiB}
gateway: {admin: "127.0.0.1:0"}
lookup: {admin: "127.0.0.1:0", ask_timeout: 20s}
normalize: {admin: "127.0.0.1:0"}
sweep: {admin: "127.0.0.1:0", every: 1s}
expect: {admin: "127.0.0.1:0", http_token: %s}
console: {admin: "127.0.0.1:0", index: index-of-the-console}
providers:
`, hashKey, p.traces.URL, expectToken)
	for _, known := range providers.All {
		fmt.Fprintf(&b, "  %s:\n    delays: [200ms, 300ms]\n    accounts:\n", known.Name)
		credentials := "webhook_secrets"
		if known.Unsigned != "" {
			credentials = "path_keys"
		}
		for _, account := range accounts {
			fmt.Fprintf(&b, "      %s:\n        %s: [%s]\n        settings:\n", account, credentials, provider.OfAccount(account, known.Sample.Secret))
			for name, value := range p.settings(known, account) {
				fmt.Fprintf(&b, "          %s: %q\n", name, value)
			}
		}
	}
	return b.String()
}

// settings are those of an account, whose look-ups go through the proxy.
func (p *plant) settings(known provider.Provider, account string) map[string]string {
	at, all := p.proxy.url+"/"+known.Name, map[string]string{}
	for name, value := range known.Sample.Settings {
		if there := strings.ReplaceAll(value, "{url}", at); there != value {
			all[name] = there
		} else {
			all[name] = provider.OfAccount(account, value)
		}
	}
	for _, s := range known.Settings {
		if _, given := all[s.Name]; s.URL && !given && s.Default == "" && account != provider.DefaultAccount {
			all[s.Name] = at + "/" + strings.ReplaceAll(known.Sample.Units[0].LookUp, "{id}", "{order}")
		}
	}
	return all
}

func (p *plant) socket(name string) {
	p.T.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	p.Must(err)
	p.T.Cleanup(func() { _ = l.Close() })  // Only ever handed on.
	p.sockets[name] = l.(*net.TCPListener) //nolint:forcetypeassert // It was opened as one.
}

func (p *plant) address(name string) string { return p.sockets[name].Addr().String() }

// startBroker runs nats-server with deploy/nats.conf, with a user test who may do everything.
func (p *plant) startBroker(address string, change ...func(string) string) {
	p.T.Helper()
	conf, env, err := processtest.Shipped(root+"deploy/nats.conf", p.dir, address, "127.0.0.1:-1", filepath.Join(p.dir, "store"))
	p.Must(err)
	for _, c := range change {
		text, err := os.ReadFile(conf)
		p.Must(err)
		p.Must(os.WriteFile(conf, []byte(c(string(text))), 0o600)) //nolint:gosec // The folder is the test's.
	}
	p.env = env
	p.start("nats-server", "-c", conf, "--log", filepath.Join(p.dir, "broker.log"))
	p.Until("nats-server to listen", func() (ok bool) {
		p.broker, p.monitor, ok = processtest.Listening(p.dir, p.running["nats-server"].Process.Pid)
		return ok
	})
	_, p.JS = testbench.Connect(p.T, "nats://"+p.broker, nats.UserInfo("test", "test"))
}

// command prepares a binary with the environment of a broker user.
func (p *plant) command(user, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(p.Ctx, filepath.Join(bin, name), args...)
	c.Env = append(os.Environ(), "NATS_URL=nats://"+p.broker, "NATS_MONITOR_URL=http://"+p.monitor, "NATS_USER="+user, "NATS_PASSWORD="+user+"pw",
		"ARAUTO_BY=tester")
	c.Env = append(c.Env, p.env...)
	return c
}

// start runs a binary in the background with its sockets.
func (p *plant) start(name string, args ...string) {
	p.T.Helper()
	c := p.command(name, name, args...)
	err := processtest.Start(c, filepath.Join(p.dir, name+".log"), map[string]*net.TCPListener{name: p.sockets[name], "admin": p.sockets[name+"/admin"]})
	if err != nil {
		p.T.Fatalf("start %s: %v", name, err)
	}
	p.running[name] = c
}

// kill ends a process with SIGKILL and waits until it is gone.
func (p *plant) kill(name string) {
	c := p.running[name]
	delete(p.running, name)
	if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.T.Errorf("kill %s: %v", name, err)
	}
	_ = c.Wait() // It says that it was killed.
}

// stop ends a process as an orchestrator does.
func (p *plant) stop(name string) {
	p.T.Helper()
	c := p.running[name]
	delete(p.running, name)
	p.Must(c.Process.Signal(syscall.SIGTERM))
	if err := c.Wait(); err != nil && name != "nats-server" {
		p.T.Errorf("%s did not stop cleanly: %v", name, err)
	}
}

// get reads a page, status 0 without an answer.
func (p *plant) get(target string) (int, []byte) {
	request, err := http.NewRequestWithContext(p.Ctx, http.MethodGet, target, nil)
	p.Must(err)
	return p.do(request)
}

func (p *plant) do(request *http.Request) (int, []byte) {
	response, err := p.http.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil
	}
	return response.StatusCode, body
}

// set makes a payment at the simulated provider.
func (p *plant) set(known provider.Provider, unit provider.SampleUnit, s provider.State) {
	p.T.Helper()
	status := json.RawMessage(fmt.Sprintf("%q", s.Status))
	if unit.Numbers {
		status = json.RawMessage(s.Status)
	}
	body, err := json.Marshal(map[string]any{"order": s.Order, "status": status, "amount": s.Amount})
	p.Must(err)
	target := "http://" + p.address("simulator") + "/_sim/" + known.Name + "/" + s.Account + "/" + unit.Name + "/" + url.PathEscape(s.ID)
	request, err := http.NewRequestWithContext(p.Ctx, http.MethodPut, target, strings.NewReader(string(body)))
	p.Must(err)
	if code, answer := p.do(request); code != http.StatusOK {
		p.T.Fatalf("PUT %s gave %d %s", target, code, answer)
	}
}

// post signs a webhook and sends it until it gets another answer than 503. more are further
// headers, and query is one that no provider adds.
func (p *plant) post(known provider.Provider, account string, w provider.Webhook, more http.Header, query string) (int, []byte) {
	p.T.Helper()
	secret, path := provider.OfAccount(account, known.Sample.Secret), []string{"v1", known.Name}
	switch {
	case known.Sample.Sign == nil:
		path = append(path, account, secret)
	case account != provider.DefaultAccount:
		path = append(path, account)
	}
	target := &url.URL{Scheme: "http", Host: p.address("gateway"), Path: "/" + strings.Join(append(path, "notifications"), "/")}
	w.Method, w.Path, w.At = http.MethodPost, target.EscapedPath(), time.Now()
	if known.Sample.Sign != nil {
		known.Sample.Sign(&w, secret)
	}
	target.RawQuery = w.Query.Encode()
	if query != "" {
		target.RawQuery = strings.TrimPrefix(target.RawQuery+"&"+query, "&")
	}
	for {
		request, err := http.NewRequestWithContext(p.Ctx, w.Method, target.String(), strings.NewReader(string(w.Body)))
		p.Must(err)
		for name, values := range more {
			request.Header[http.CanonicalHeaderKey(name)] = values
		}
		headers, _ := w.Header.(provider.HeaderMap)
		for name, values := range headers {
			request.Header[http.CanonicalHeaderKey(name)] = values
		}
		status, answer := p.do(request)
		if (status != http.StatusServiceUnavailable && status != 0) || p.Ctx.Err() != nil {
			return status, answer
		}
	}
}

// arauto runs the operator's command, and returns what it prints.
func (p *plant) arauto(user string, args ...string) (output []byte, code int) {
	p.T.Helper()
	c := p.command(user, "arauto", append(args, "--config", p.config())...)
	output, err := c.CombinedOutput()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return output, exit.ExitCode()
	}
	p.Must(err)
	return output, 0
}

// drained waits until no consumer has a message that is not acknowledged.
func (p *plant) drained() {
	p.T.Helper()
	p.Until("all messages to be handled", func() bool {
		waits := false
		for name := range p.JS.StreamNames(p.Ctx).Name() {
			s, err := p.JS.Stream(p.Ctx, name)
			if err != nil {
				waits = true
				continue
			}
			for c := range s.ListConsumers(p.Ctx).Info() {
				waits = waits || c.NumPending > 0 || c.NumAckPending > 0
			}
		}
		return !waits
	})
}

func (p *plant) showLogs() {
	logs, err := filepath.Glob(filepath.Join(p.dir, "*.log"))
	if err != nil {
		p.T.Log(err)
	}
	slices.Sort(logs)
	for _, name := range logs {
		if data, err := os.ReadFile(name); err == nil {
			p.T.Logf("%s ends with:\n%s", filepath.Base(name), data[max(0, len(data)-3000):])
		}
	}
}
