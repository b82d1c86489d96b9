package chart_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// mains are what a production deployment runs, with the simulator for the providers.
var mains = []string{
	"./gateway", "./workers/cmd/lookup", "./workers/cmd/normalize", "./workers/cmd/sweep", "./workers/cmd/expect", "./workers/cmd/console", "./workers/cmd/arauto",
	"./deploy/tools/simulator", "github.com/nats-io/nats-server/v2",
}

// build makes the binaries as all other tests make them, from the root module.
func build(t *testing.T, packages ...string) string {
	t.Helper()
	bin := t.TempDir()
	c := exec.CommandContext(t.Context(), "go", append([]string{"build", "-o", bin + string(filepath.Separator)}, packages...)...)
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// start runs a program of the test until its end.
func start(t *testing.T, ctx context.Context, env []string, name string, args ...string) {
	t.Helper()
	log := &buffer{}
	c := exec.CommandContext(ctx, name, args...)
	c.Env, c.Stdout, c.Stderr = env, log, log
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = time.Minute
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM) // It may be gone.
		_ = c.Wait()                          // It was stopped.
		if t.Failed() {
			text := log.String()
			t.Logf("%s ended with:\n%s", filepath.Base(name), text[max(0, len(text)-1500):])
		}
	})
}

// freePorts are below the range from which systems choose ports.
func freePorts(t *testing.T, n int) (all []string) {
	t.Helper()
	for range 100 * n {
		at := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		l, err := net.Listen("tcp", at)
		if err != nil || slices.Contains(all, at) {
			continue
		}
		defer l.Close()
		if all = append(all, at); len(all) == n {
			return all
		}
	}
	t.Fatal("no ports are free")
	return nil
}

var password = regexp.MustCompile(`\$(NATS_[A-Z]+_PASSWORD)`)

// brokers starts three servers with deploy/nats-cluster.conf. It returns their addresses, those of
// their monitoring, and the Secret with the passwords.
func brokers(t *testing.T, ctx context.Context, bin string) (clients, monitors []string, passwords map[string]string) {
	t.Helper()
	const size = 3
	ports := freePorts(t, 3*size)
	clients, monitors = ports[:size], ports[size:2*size]
	routes := ports[2*size:]
	passwords = map[string]string{}
	shipped := read(t, "nats.conf")
	for _, m := range password.FindAllStringSubmatch(shipped, -1) {
		passwords[m[1]] = "p" + strings.ToLower(m[1])
	}
	for i := range size {
		dir := t.TempDir()
		node := strings.NewReplacer(`"0.0.0.0:4222"`, `"`+clients[i]+`"`, `"/data"`, `"`+dir+`/store"`, `http: "127.0.0.1:8222"`, "").Replace(shipped)
		// A user of the test, which reads the events.
		node = strings.Replace(node, "users: [\n", "users: [ {user: test, password: test}\n", 1)
		others := slices.Delete(slices.Clone(routes), i, i+1)
		for j := range others {
			others[j] = `"nats://route:proute@` + others[j] + `"`
		}
		for name, text := range map[string]string{
			"nats.conf": node, "subscribers.conf": "",
			"nats-cluster.conf": strings.Replace(read(t, "nats-cluster.conf"), "0.0.0.0:6222", routes[i], 1),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		env := []string{
			fmt.Sprintf("NATS_SERVER_NAME=nats-%d", i+1), "NATS_MONITOR_LISTEN=" + monitors[i], "NATS_ROUTE_PASSWORD=proute",
			"NATS_ROUTES=[" + strings.Join(others, ",") + "]",
		}
		for name, value := range passwords {
			env = append(env, name+"="+value)
		}
		start(t, ctx, env, filepath.Join(bin, "nats-server"), "-c", filepath.Join(dir, "nats-cluster.conf"))
	}
	return clients, monitors, passwords
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// seeds are the commands of SEEDS.md up to the part about failures.
func seeds(t *testing.T) []string {
	t.Helper()
	text, _, _ := strings.Cut(read(t, "SEEDS.md"), "## Make it fail")
	var all []string
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		all = append(all, strings.Split(strings.TrimSpace(block[1]), "\n\n")...)
	}
	return all
}

// want are the events of the seeds.
var want = map[string]string{
	"picpay/default/102030": "paid",
	"picpay-checkout/default/61e35ec2-caa8-4598-bed5-d43e25e14151":     "paid",
	"picpay-checkout/default/3ds-bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1": "authenticated",
	"beeteller/default/1e7ce9c5-75b1-40c2-949a-bb221aafe70d":           "paid",
	"yapay/default/f0c4e2":                "pending",
	"picpay-subscriptions/default/5f3a1c": "paid",
	"mercadopago/default/123456789":       "paid",
	"sandbox/default/my-payment":          "paid partially_refunded",
}

// yapayKey is as long as production wants path keys.
const yapayKey = "yapay-key-of-this-test"

// providers are the Secrets of the roles that the values name. The simulator knows the credentials.
func providers(passwords map[string]string) map[string]map[string]string {
	return map[string]map[string]string{
		"arauto-broker":   passwords,
		"arauto-hash-key": {"ARAUTO_HASH_KEY": "a-hash-key-of-this-test-0123456789"},
		"arauto-tracing":  {"OTEL_TOKEN": otelToken},
		"arauto-gateway": {
			"OTEL_TOKEN":     otelToken,
			"SANDBOX_SECRET": "sandbox-local-token", "PICPAY_SECRET": "4ef4edbd-5cda-42da-860b-0e8d7b90c784",
			"CHECKOUT_SECRET": "a45c2dee-6435-1234-5678-b2a5f0ae7a8a", "SUBSCRIPTIONS_SECRET": "1fe523a0-20f1-4591-985e-ca3e8c2e6808",
			"BEETELLER_KEY": "beeteller-local-key", "YAPAY_KEY": yapayKey, "MERCADOPAGO_SECRET": "mercadopago-local-secret",
		},
		"arauto-lookup": {
			"OTEL_TOKEN":    otelToken,
			"SANDBOX_TOKEN": "sandbox-lookup-token", "CHECKOUT_CLIENT_SECRET": "checkout-secret",
			"YAPAY_TOKEN": "yapay-lookup-token", "MERCADOPAGO_TOKEN": "mercadopago-lookup-token",
		},
		"arauto-lookup-files": {"picpay-token": "picpay-lookup-token"},
		"arauto-console":      {"OTEL_TOKEN": otelToken, "CONSOLE_MARIA": "$2a$10$7EqJtq98hPqEX7fNZaFWoOhi5TzRyX0nqA5Yx6rGZkFZ8cWxo0vzy"},
	}
}

// TestRenderedManifestsTurnTheSeedsIntoEvents has values as its only input: it starts
// a collector of spans, three brokers and what the chart makes of the values, three gateways and three workers of
// each kind, and sends them the webhooks of SEEDS.md.
func TestRenderedManifestsTurnTheSeedsIntoEvents(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	t.Cleanup(cancel)
	if os.Getuid() != 0 {
		t.Log("not root: the processes run as the user of this test, and without a root folder of their own")
	}
	bin := build(t, mains...)
	clients, monitors, passwords := brokers(t, ctx, bin)
	simulator, spans := freePorts(t, 1)[0], collectSpans(t)
	_, port, _ := strings.Cut(spans.Listener.Addr().String(), ":")
	text, err := os.ReadFile("values/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	given := strings.NewReplacer(
		"BROKERS", `"nats://`+strings.Join(clients, ",nats://")+`"`, "MONITORS", `"http://`+strings.Join(monitors, ",http://")+`"`,
		"SIMULATOR", "http://"+simulator, "COLLECTOR", spans.URL+"/v1/traces", "PORT", port).Replace(string(text))
	c := &cluster{t: t, ctx: ctx, bin: bin, secrets: providers(passwords), objects: mustRender(t, parse(t, given))}
	c.job("Job/arauto-topology")
	roles := c.deployments()
	for _, role := range []string{"gateway", "lookup", "normalize", "sweep", "expect"} {
		if len(roles[role]) != 3 {
			t.Fatalf("%d of %s run", len(roles[role]), role)
		}
	}
	if len(roles["console"]) != 1 {
		t.Fatalf("%d consoles run", len(roles["console"]))
	}
	// The gateways' Service, for the webhooks that the simulator sends.
	service, taken := c.balance(roles["gateway"])
	start(t, ctx, nil, filepath.Join(bin, "simulator"), "-listen", simulator, "-gateway", "http://"+service)
	events := c.follow(clients)
	c.until("the simulator", func() bool {
		conn, err := net.Dial("tcp", simulator)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, new(string))
	for _, command := range seeds(t) {
		command = strings.NewReplacer("127.0.0.1:8080", service, "127.0.0.1:8090", simulator, "yapay-local-key", yapayKey).Replace(command)
		c.seed(command)
		if strings.Contains(command, "my-payment") && strings.Contains(command, `"paid"`) {
			events("sandbox/default/my-payment", "paid")
		}
	}
	for payment, statuses := range want {
		events(payment, statuses)
	}
	for i := range taken {
		if taken[i].Load() == 0 {
			t.Errorf("gateway %d of %d had no webhook", i+1, len(taken))
		}
	}
	c.asksForALogin(roles["console"][0].ports["pages"])
	for _, role := range []string{"gateway", "sweep", "expect", "lookup", "normalize", "console"} {
		for _, r := range roles[role] {
			if c.stop(r); os.Getuid() == 0 {
				unwritten(t, r)
			}
		}
	}
	for _, role := range []string{"gateway", "lookup", "normalize"} {
		spans.has(t, role)
	}
}

// asksForALogin wants the console to show a client of its host a log-in and no payment, and to
// refuse a client of another host.
func (c *cluster) asksForALogin(pages string) {
	c.t.Helper()
	for host, status := range map[string]int{"console.example.com": http.StatusOK, "other.example.com": http.StatusMisdirectedRequest} {
		request, err := http.NewRequestWithContext(c.ctx, http.MethodGet, "http://"+pages+"/payments?q=my-payment", nil)
		if err != nil {
			c.t.Fatal(err)
		}
		request.Host = host
		answer, err := (&http.Client{CheckRedirect: func(next *http.Request, _ []*http.Request) error {
			next.Host = host
			return nil
		}}).Do(request)
		if err != nil {
			c.t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if login := strings.Contains(string(text), `type="password"`); err != nil || answer.StatusCode != status || login != (status == http.StatusOK) || strings.Contains(string(text), "102030") {
			c.t.Errorf("%s gets %s, %v:\n%s", host, answer.Status, err, text)
		}
	}
}

// seed sends a webhook, again after a 503, as providers do.
func (c *cluster) seed(command string) {
	c.t.Helper()
	last := ""
	c.until("200 to "+command, func() bool {
		out, err := exec.CommandContext(c.ctx, "sh", "-c", command+" -sS").CombinedOutput()
		last = string(out)
		if err == nil && strings.Contains(last, "HTTP/1.1 200") && !strings.Contains(last, `"notified":503`) {
			return true
		}
		if err != nil || !strings.Contains(last, "503") {
			c.t.Fatalf("%v: %s\n%s", err, command, last)
		}
		return false
	}, &last)
}

// follow reads ORDERS. What it returns waits until a payment has exactly these statuses.
func (c *cluster) follow(clients []string) func(payment, statuses string) {
	c.t.Helper()
	nc, err := nats.Connect("nats://"+clients[0], nats.UserInfo("test", "test"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		c.t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(c.ctx, "ORDERS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		c.t.Fatal(err)
	}
	seen := map[string]string{}
	return func(payment, statuses string) {
		c.t.Helper()
		for seen[payment] != statuses {
			m, err := consumer.Next(jetstream.FetchMaxWait(time.Second))
			if c.ctx.Err() != nil {
				c.t.Fatalf("%s is %q, want %q; all are %v", payment, seen[payment], statuses, seen)
			}
			if err != nil {
				continue // Nothing came within the second.
			}
			var e struct{ Provider, Account, Payment, Status string }
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				c.t.Fatal(err)
			}
			key := e.Provider + "/" + e.Account + "/" + e.Payment
			seen[key] = strings.TrimSpace(seen[key] + " " + e.Status)
		}
	}
}

// balance gives each connection to the next of the gateways, and counts those of each.
func (c *cluster) balance(gateways []*running) (address string, taken []atomic.Int64) {
	c.t.Helper()
	l := listen(c.t)
	taken = make([]atomic.Int64, len(gateways))
	c.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for i := 0; ; i++ {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", gateways[i%len(gateways)].ports["webhooks"])
			if err != nil {
				_ = from.Close()
				continue
			}
			taken[i%len(gateways)].Add(1)
			go pipe(from, to)
			go pipe(to, from)
		}
	}()
	return l.Addr().String(), taken
}

func pipe(from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			_, _ = from.Close(), to.Close()
			return
		}
	}
}
