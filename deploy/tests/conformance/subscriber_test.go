package conformance_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/publish"
	"arauto/gateway/webhook"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
	"arauto/schemas/subscriber"
	"arauto/workers/operator"
)

// reloadable is a broker that runs the shipped configuration from a folder of its own.
type reloadable struct {
	*broker
	folder string
	keep   []option
}

// startReloadable starts the broker with an empty subscribers.conf beside its nats.conf.
func startReloadable(t *testing.T) *reloadable {
	t.Helper()
	r := &reloadable{folder: t.TempDir()}
	for _, name := range []string{"nats.conf", "subscribers.conf"} {
		testbench.Must(t, os.WriteFile(filepath.Join(r.folder, name), []byte(read(t, "deploy/"+name)), 0o600))
	}
	store := t.TempDir()
	r.keep = []option{func(o *server.Options) { o.StoreDir = store }}
	r.broker = startFile(t, filepath.Join(r.folder, "nats.conf"), r.keep...)
	return r
}

// reload has the broker read its configuration again, twice, as SUBSCRIBING.md says: the
// first time nats-server 2.15.3 makes a new account, but connects none of its imports
// (configureAccounts of server/server.go, "only if not reloading").
func (r *reloadable) reload() {
	r.t.Helper()
	r.reloadOnce()
	r.reloadOnce()
}

// reloadOnce is nats-server --signal reload. What the tests have changed of the configuration
// stays.
func (r *reloadable) reloadOnce() {
	r.t.Helper()
	options := optionsOf(r.t, filepath.Join(r.folder, "nats.conf"), r.keep...)
	options.Port = r.server.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // It listens on TCP.
	testbench.Must(r.t, r.server.ReloadOptions(options))
}

// printedAccount is what arauto subscriber add prints.
type printedAccount struct {
	User, Password, Stream, Consumer string
	Inbox                            string `json:"inbox_prefix"`
}

// operate runs one command of the operator as its user, and decodes what it prints.
func (r *reloadable) operate(into any, args ...string) {
	r.t.Helper()
	config := filepath.Join(r.folder, "arauto.yaml")
	testbench.Must(r.t, os.WriteFile(config, fmt.Appendf(nil, "profile: local\nhash_key: %s\nnats: {url: %q, user: operator, password: %s}\n",
		testbench.HashKey, r.server.ClientURL(), password("operator")), 0o600))
	var out, problems bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	if code := operator.Run(testbench.Context(r.t), append(args, "--config", config, "--output", "json"), none, &out, &problems); code != operator.ExitDone {
		r.t.Fatalf("arauto %v: code %d, %s", args, code, problems.String())
	}
	testbench.Must(r.t, json.Unmarshal(out.Bytes(), into))
}

// log in with exactly what was printed.
func (r *reloadable) login(p printedAccount, more ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	r.t.Helper()
	return testbench.Connect(r.t, r.server.ClientURL(), append([]nats.Option{nats.UserInfo(p.User, p.Password), nats.CustomInboxPrefix(p.Inbox)}, more...)...)
}

// TestAddedServiceSubscribesWithoutARestart adds services while webhooks arrive, reloads the
// broker, and uses the first service's printed settings.
func TestAddedServiceSubscribesWithoutARestart(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	f := &flow{Bench: testbench.NewBench(t, nil)}
	f.applyTopology(r.broker)
	const before, after = 20, 20
	for i := range before {
		r.announce(f, i)
	}
	webhooks := r.sendWebhooks(f)
	webhooks.more(t)

	var billing, shipping printedAccount
	file := filepath.Join(r.folder, "subscribers.conf")
	r.operate(&billing, "subscriber", "add", "billing", "--file", file)
	r.operate(&shipping, "subscriber", "add", "shipping", "--file", file)
	if _, err := nats.Connect(r.server.ClientURL(), nats.UserInfo(billing.User, billing.Password), nats.Timeout(time.Minute)); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("before the reload the service connects: %v", err)
	}
	webhooks.more(t)
	r.reload()
	webhooks.more(t)

	nc, js := r.login(billing)
	seen := make(chan subscriber.Event, 4*(before+after))
	read := func(from uint64, want int) {
		t.Helper()
		ctx, stop := context.WithCancel(f.Ctx)
		done := make(chan error, 1)
		go func() {
			done <- subscriber.Run(ctx, js, subscriber.Options{Consumer: billing.Consumer, DeadLetters: true}, func(_ context.Context, e subscriber.Event) error {
				seen <- e
				return nil
			})
		}()
		sequences := map[uint64]bool{}
		for len(sequences) < want {
			sequences[testbench.Receive(t, "an event", seen).Sequence] = true
		}
		for s := from; s < from+uint64(want); s++ {
			if !sequences[s] {
				t.Errorf("event %d was missed", s)
			}
		}
		stop()
		testbench.Must(t, <-done)
	}
	for i := range after {
		r.announce(f, before+i)
	}
	read(1, before+after)
	reset, err := js.ResetConsumerToSequence(f.Ctx, billing.Stream, billing.Consumer, before+1)
	f.Must(err)
	if reset.ResetSeq != before+1 {
		t.Errorf("reset to %d", reset.ResetSeq)
	}
	read(before+1, after)
	orders, err := js.Stream(f.Ctx, billing.Stream)
	f.Must(err)
	if m, err := orders.GetMsg(f.Ctx, 3); err != nil || m.Subject != "orders.sandbox.default.p2.o.pending" {
		t.Errorf("it reads the stored event %v, %v", m, err)
	}
	if nc.LastError() != nil {
		t.Errorf("the broker refused what was printed: %v", nc.LastError())
	}
	r.refuseEverythingElse(t, billing)
	webhooks.end(t)

	var removed struct{ Lag uint64 }
	r.operate(&removed, "subscriber", "remove", "shipping", "--file", file)
	r.reload()
	if _, err := nats.Connect(r.server.ClientURL(), nats.UserInfo(shipping.User, shipping.Password), nats.Timeout(time.Minute)); !errors.Is(err, nats.ErrAuthorization) || removed.Lag != before+after {
		t.Errorf("after its removal, with %d events left, the service connects: %v", removed.Lag, err)
	}
	if !nc.IsConnected() {
		t.Error("the reload disconnected another service")
	}
}

// TestReloadRefusesNoWebhook reloads the broker while several gateways store webhooks. For a
// moment of each reload the broker has no import of their account.
func TestReloadRefusesNoWebhook(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	f := &flow{Bench: testbench.NewBench(t, nil)}
	f.applyTopology(r.broker)
	var gateways []*webhooks
	for range 4 {
		gateways = append(gateways, r.sendWebhooks(f))
	}
	for range 40 {
		for _, w := range gateways {
			w.more(t)
		}
		r.reloadOnce()
	}
	for _, w := range gateways {
		w.end(t)
	}
}

// refuseEverythingElse tries what a service must not do.
func (r *reloadable) refuseEverythingElse(t *testing.T, p printedAccount) {
	t.Helper()
	for _, on := range []string{
		"$JS.API.CONSUMER.INFO.ORDERS.shipping", "$JS.API.CONSUMER.MSG.NEXT.ORDERS.shipping", "$JS.API.CONSUMER.RESET.ORDERS.shipping",
		"$JS.ACK.ORDERS.shipping.1.1.1.1.0", "$JS.ACK.ORDERS.shipping.ORDERS.billing.1.1.1", "$JS.ACK.NOTIFICATIONS.lookup-sandbox.ORDERS.billing.1.1.1",
		"$JS.API.CONSUMER.DELETE.ORDERS.shipping", "$JS.API.CONSUMER.CREATE.ORDERS.billing",
		"orders.sandbox.default.p.o.paid", "dead.subscriber.shipping.sandbox.default.p", "notifications.sandbox.default.p", "$JS.API.STREAM.PURGE.ORDERS",
	} {
		nc, _ := r.login(p, silent)
		testbench.Must(t, nc.Publish(on, nil))
		refused(t, nc, probe{p.User, on, "it is another's"})
	}
	nc, _ := r.login(p, silent)
	_, err := nc.SubscribeSync("orders.>")
	testbench.Must(t, err)
	refused(t, nc, probe{p.User, "orders.>", "it reads with its consumer"})
}

// announce stores the first event of a payment, as normalize does.
func (r *reloadable) announce(f *flow, i int) {
	f.T.Helper()
	payment := fmt.Sprintf("p%d", i)
	body, err := json.Marshal(order.Event{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Order: "o", Payment: payment, Transition: 1,
		Status: order.Pending, ProviderStatus: "pending", ObservedAt: time.Now().UTC(), Observation: 1,
	})
	f.Must(err)
	_, js := r.as("normalize")
	_, err = js.Publish(f.Ctx, "orders.sandbox.default."+payment+".o.pending", body)
	f.Must(err)
}

// webhooks are posted one after the other to a running gateway.
type webhooks struct {
	stored chan struct{}
	stop   context.CancelFunc
	wrong  chan string
	count  atomic.Int64
}

func (r *reloadable) sendWebhooks(f *flow) *webhooks {
	f.T.Helper()
	nc, _ := r.as("gateway")
	publisher, err := publish.New(nc, publish.Options{Timeout: time.Minute, GroupCommit: func() bool { return true }})
	f.Must(err)
	sandbox, _ := providers.All.Get("sandbox")
	gateway, err := webhook.New(webhook.Options{
		Providers: provider.Set{sandbox}, Accounts: webhook.Accounts{Credentials: map[string]map[string][]string{"sandbox": {"default": {"secret"}}}},
		Tokens: f.Tokens, Publisher: publisher, Log: zap.NewNop(), Registerer: prometheus.NewRegistry(),
	})
	f.Must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	f.Must(err)
	serving, stopServing := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- gateway.Run(serving, listener) }()
	ctx, stop := context.WithCancel(f.Ctx)
	w := &webhooks{stored: make(chan struct{}, 1), stop: stop, wrong: make(chan string, 1)}
	go func() {
		defer close(w.wrong)
		for ctx.Err() == nil {
			if said := postWebhook(listener.Addr().String(), sandbox, w.count.Add(1)); said != "200 Ok" {
				w.wrong <- said
				return
			}
			select {
			case w.stored <- struct{}{}:
			default:
			}
		}
	}()
	f.T.Cleanup(func() {
		stop()
		stopServing()
		if err := <-served; err != nil {
			f.T.Errorf("gateway: %v", err)
		}
	})
	return w
}

// postWebhook posts one webhook and returns its answer in a line.
func postWebhook(address string, p provider.Provider, number int64) string {
	sent := p.Sample.Webhook(provider.State{
		Account: "default", Unit: p.Sample.Units[0].Name, ID: fmt.Sprint("w-", number), Order: "o", Status: p.Sample.Units[0].Opening, Amount: 1,
	})
	sent.Method, sent.Path, sent.At = http.MethodPost, "/v1/sandbox/notifications", time.Now()
	p.Sample.Sign(&sent, "secret")
	request, err := http.NewRequest(http.MethodPost, "http://"+address+sent.Path, bytes.NewReader(sent.Body))
	if err != nil {
		return err.Error()
	}
	headers, _ := sent.Header.(provider.HeaderMap)
	for name, values := range headers {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	request.Close = true
	answer, err := (&http.Client{Timeout: 2 * time.Minute}).Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(answer.Body); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", answer.StatusCode, body.String()))
}

// more waits until webhooks that were posted after this call have been stored.
func (w *webhooks) more(t *testing.T) {
	t.Helper()
	for range 5 {
		select {
		case said, open := <-w.wrong:
			if open {
				t.Fatalf("webhook %d was answered %s", w.count.Load(), said)
			}
		case <-w.stored:
		case <-testbench.Context(t).Done():
			t.Fatal("no webhook was stored")
		}
	}
}

func (w *webhooks) end(t *testing.T) {
	t.Helper()
	w.stop()
	if said, wrong := <-w.wrong; wrong {
		t.Errorf("webhook %d was answered %s", w.count.Load(), said)
	}
}

// TestAccountOfAnyServiceIsReadByTheBroker has names that the broker's configuration reads as
// something else where they stand without quotes.
func TestAccountOfAnyServiceIsReadByTheBroker(t *testing.T) {
	t.Parallel()
	r := &reloadable{folder: t.TempDir()}
	path := filepath.Join(r.folder, "nats.conf")
	testbench.Must(t, os.WriteFile(path, []byte(read(t, "deploy/nats.conf")), 0o600))
	for _, name := range []string{"billing", "a", "a-", "true", "false", "on", "off", "yes", "no", "include", "users", "imports"} {
		testbench.Must(t, os.WriteFile(filepath.Join(r.folder, "subscribers.conf"), []byte(operator.SubscriberAccount(name, subject.Orders, "$2a$10$x")), 0o600))
		options, err := server.ProcessConfigFile(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.ContainsFunc(options.Users, func(u *server.User) bool { return u.Username == name && u.Account.Name == name }) {
			t.Errorf("%s: its account has no user of that name", name)
		}
	}
}

// TestNoServiceIsNamedLikeARole gives every user of nats.conf to the command.
func TestNoServiceIsNamedLikeARole(t *testing.T) {
	t.Parallel()
	for _, user := range append([]string{auditor}, roles...) {
		var out, problems bytes.Buffer
		none := func(string) (string, bool) { return "", false }
		if code := operator.Run(t.Context(), []string{"subscriber", "add", user}, none, &out, &problems); code != operator.ExitRefused || !strings.Contains(problems.String(), "user of Arauto's own") {
			t.Errorf("a service may be called %s: code %d, %s", user, code, problems.String())
		}
	}
}

// TestDocumentedServiceReadsOutcomes builds the service of the document, and runs it with what
// the command prints.
func TestDocumentedServiceReadsOutcomes(t *testing.T) {
	t.Parallel()
	r := startReloadable(t)
	f := &flow{Bench: testbench.NewBench(t, nil)}
	f.applyTopology(r.broker)
	var printed printedAccount
	r.operate(&printed, "subscriber", "add", ledger, "--stream", "outcomes", "--file", filepath.Join(r.folder, "subscribers.conf"))
	r.reload()
	source, program := filepath.Join(r.folder, "main.go"), filepath.Join(r.folder, "service")
	f.Must(os.WriteFile(source, []byte(fenced(t, "deploy/SUBSCRIBING.md", "go outcomes")), 0o600))
	build := exec.CommandContext(f.Ctx, "go", "build", "-o", program, source)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	ctx, stop := context.WithCancel(f.Ctx)
	service := exec.CommandContext(ctx, program)
	service.Env = []string{"NATS_URL=" + r.server.ClientURL(), "NATS_LEDGER_PASSWORD=" + printed.Password}
	var problems bytes.Buffer
	service.Stderr = &problems
	out, err := service.StdoutPipe()
	f.Must(err)
	f.Must(service.Start())
	_, role := r.as("expect")
	publish := func(body any, word string) {
		t.Helper()
		data, err := json.Marshal(body)
		f.Must(err)
		_, err = role.Publish(f.Ctx, f.Tokens.Unit("sandbox", "default", "p-1").Outcome(word), data)
		f.Must(err)
	}
	publish("no outcome", "met")
	publish(expectation.Outcome{Provider: "sandbox", Account: "default", Payment: "p-1", Outcome: expectation.NeverPaid}, "never_paid")
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "p-1 never_paid" {
		t.Errorf("the service printed %q", lines.Text())
	}
	_, all := r.as(inspector)
	f.Until("the outcome is acked, and the unreadable one is kept", func() bool {
		c, err := all.Consumer(f.Ctx, printed.Stream, printed.Consumer)
		f.Must(err)
		return c.CachedInfo().NumAckPending == 1 && c.CachedInfo().NumPending == 0
	})
	stop()
	_ = service.Wait() // It was killed.
	if !strings.Contains(problems.String(), "decode outcome") || len(r.trace.refusals()) != 0 {
		t.Errorf("the service reported %q, the broker refused %v", problems.String(), r.trace.refusals())
	}
}
