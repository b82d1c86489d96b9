package operator

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/providerhttp"
	"arauto/workers/internal/retry"
	"arauto/workers/lookup"
	"arauto/workers/normalize/fold"
)

var update = flag.Bool("update", false, "write the golden files anew")

const hashKey = "a key for tests, 32 bytes long..."

// rig is a deployment of one provider with an operator beside it.
type rig struct {
	*testbench.Broker
	t       *testing.T
	ctx     context.Context
	tokens  subject.Tokens
	retries *retry.Store
	dead    *deadletter.Store
	bank    *bank
	config  string
}

// deploy starts a broker, a provider and, unless told otherwise, the workers.
func deploy(t *testing.T) *rig {
	t.Helper()
	r := idle(t)
	r.work()
	return r
}

// idle is deploy without workers.
func idle(t *testing.T) *rig {
	t.Helper()
	tokens, err := subject.Keyed(hashKey)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Broker: testbench.Start(t, providers.All.Names()...), t: t, ctx: testbench.Context(t), tokens: tokens, bank: newBank(t)}
	r.retries, err = retry.Open(r.ctx, r.JS, tokens)
	r.must(err)
	r.dead, err = deadletter.Open(r.ctx, r.JS)
	r.must(err)
	r.config = filepath.Join(t.TempDir(), "arauto.yaml")
	r.must(os.WriteFile(r.config, fmt.Appendf(nil, `profile: local
hash_key: %s
nats: {url: %q}
topology: {store: 1GiB}
providers:
  sandbox:
    accounts:
      default:
        webhook_secrets: [hook]
        settings: {base_url: %q, token: token}
  beeteller:
    accounts:
      default:
        path_keys: [key]
`, hashKey, r.URL, r.bank.url), 0o600))
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// run runs a command and wants a code. It returns what was printed.
func (r *rig) run(want int, args ...string) string {
	r.t.Helper()
	code, out, problems := arauto(r.t, append(args, "--config", r.config)...)
	if code != want {
		r.t.Fatalf("arauto %q: code %d, want %d; output:\n%s\nproblems:\n%s", args, code, want, out, problems)
	}
	return out
}

// work runs lookup and normalize in this process.
func (r *rig) work() {
	r.t.Helper()
	observed, err := observations.Open(r.ctx, r.JS)
	r.must(err)
	policy, err := providers.All.RetryPolicy("default")
	r.must(err)
	policy, err = policy.WithOffsets([]time.Duration{50 * time.Millisecond, time.Hour})
	r.must(err)
	sandbox, _ := providers.All.Get("sandbox")
	client := providerhttp.New(providerhttp.Options{Timeout: 10 * time.Second, AnswerLimit: 1 << 20, Connections: 2, Now: time.Now})
	r.t.Cleanup(client.Close)
	look := lookup.New(lookup.Options{
		Provider: sandbox, Policy: policy, Tokens: r.tokens, Ask: client, Observations: observed, Retries: r.retries, DeadLetters: r.dead,
		Accounts: map[string]provider.Account{"default": {Name: "default", Settings: map[string]string{"base_url": r.bank.url, "token": "token"}}},
		Log:      zap.NewNop(), Metrics: lookup.NewMetrics(prometheus.NewRegistry()), Now: time.Now, Jitter: func() float64 { return 0 },
	})
	judge, err := fold.New(r.ctx, fold.Options{
		JS: r.JS, Tokens: r.tokens, Retries: r.retries, DeadLetters: r.dead, Log: zap.NewNop(),
		Metrics: fold.NewMetrics(prometheus.NewRegistry()), Now: time.Now,
	})
	r.must(err)
	r.consume(subject.Notifications, subject.LookupConsumer("sandbox"), look.HandleNotification)
	r.consume(subject.LookupRetries, subject.LookupDueConsumer("sandbox"), look.HandleDue)
	r.consume(subject.Statuses, subject.NormalizeConsumer, judge.Handle)
}

func (r *rig) consume(stream, name string, handle consume.Handler) {
	r.t.Helper()
	consumer, err := r.JS.Consumer(r.ctx, stream, name)
	r.must(err)
	ctx, stop := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() {
		done <- consume.Run(ctx, consume.Options{
			Consumer: consumer, Name: name, Concurrency: 2, AckWait: topology.AckWait, Grace: 5 * time.Second, Log: zap.NewNop(),
		}, handle)
	}()
	r.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
	})
}

// notify stores a notification as the gateway does.
func (r *rig) notify(payment string) {
	r.t.Helper()
	n := record.Notification{
		ID: uuid.NewString(), Provider: "sandbox", Account: "default", Kind: order.Payment,
		Payment: payment, Order: "o-" + payment, ReceivedAt: time.Now().UTC(),
	}
	body, err := json.Marshal(n)
	r.must(err)
	_, err = r.JS.Publish(r.ctx, r.unit(payment).Notification(), body)
	r.must(err)
}

func (r *rig) unit(payment string) subject.Unit { return r.tokens.Unit("sandbox", "default", payment) }

// eventually waits until something is so.
func (r *rig) eventually(what string, so func() bool) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			r.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// last is the last message that matches, nil for none.
func (r *rig) last(stream, filter string) *jetstream.RawStreamMsg {
	r.t.Helper()
	s, err := r.JS.Stream(r.ctx, stream)
	r.must(err)
	raw, err := s.GetLastMsgForSubject(r.ctx, filter)
	if err != nil {
		return nil
	}
	return raw
}

// moved waits until a payment has an event with a status, and its look-ups
// have come to rest.
func (r *rig) moved(payment string, to order.Status) {
	r.t.Helper()
	r.eventually(payment+" is "+string(to), func() bool {
		raw := r.last(subject.Orders, r.unit(payment).Events())
		return raw != nil && path.Ext(raw.Subject) == "."+string(to)
	})
}

// count is how many messages a stream has ever had.
func (r *rig) count(stream string) uint64 {
	r.t.Helper()
	s, err := r.JS.Stream(r.ctx, stream)
	r.must(err)
	return s.CachedInfo().State.LastSeq
}

// audits are the entries of AUDIT, in order.
func (r *rig) audits() (all []record.Audit) {
	r.t.Helper()
	s, err := r.JS.Stream(r.ctx, subject.Audit)
	r.must(err)
	for next := uint64(1); ; {
		raw, err := s.GetMsg(r.ctx, next, jetstream.WithGetMsgSubject("audit.>"))
		if err != nil {
			return all
		}
		var a record.Audit
		r.must(json.Unmarshal(raw.Data, &a))
		if raw.Subject != "audit."+a.Verb {
			r.t.Errorf("audit entry of %s is on %s", a.Verb, raw.Subject)
		}
		all, next = append(all, a), raw.Sequence+1
	}
}

var changing = []struct {
	what *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`"(bytes)": \d+`), `"$1": 0`},
	{regexp.MustCompile(`"(version)": "[0-9.]+"`), `"$1": "VERSION"`},
	{regexp.MustCompile(`"(oldest_age_seconds)": [0-9.]+`), `"$1": 0`},
	{regexp.MustCompile(`"(by)": "[^"]+@[^"]+"`), `"$1": "WHO"`},
	{regexp.MustCompile(`"([0-9a-f]{32})"`), `"HASH"`},
}

// golden holds an output to a file, without what differs from run to run.
func golden(t *testing.T, name, got string) {
	t.Helper()
	for _, c := range changing {
		got = c.what.ReplaceAllString(got, c.as)
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; go test -update writes it. Got:\n%s", file, got)
	}
}
