package operator

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
	"arauto/workers/lookup"
	"arauto/workers/workertest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// rig is a deployment of one provider with an operator beside it.
type rig struct {
	*testbench.Broker
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
	r := &rig{Broker: testbench.Start(t, providers.All.Names()...), bank: newBank(t)}
	var err error
	r.retries, err = retry.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	r.dead, err = deadletter.Open(r.Ctx, r.JS)
	r.Must(err)
	r.config = filepath.Join(t.TempDir(), "arauto.yaml")
	r.Must(os.WriteFile(r.config, fmt.Appendf(nil, `profile: local
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
`, testbench.HashKey, r.URL, r.bank.url), 0o600))
	return r
}

// run runs a command and wants a code. It returns what was printed.
func (r *rig) run(want int, args ...string) string {
	r.T.Helper()
	code, out, problems := arauto(r.T, append(args, "--config", r.config)...)
	if code != want {
		r.T.Fatalf("arauto %q: code %d, want %d; output:\n%s\nproblems:\n%s", args, code, want, out, problems)
	}
	return out
}

func (r *rig) workers() workertest.Bench { return workertest.Bench{Bench: r.Bench} }

// work runs lookup and normalize in this process.
func (r *rig) work() {
	r.T.Helper()
	workers := r.workers()
	look := workers.Lookup(provider.Account{Name: "default", Settings: map[string]string{"base_url": r.bank.url, "token": "token"}},
		lookup.Limits{}, 50*time.Millisecond, time.Hour)
	workers.Consume(subject.Notifications, subject.LookupConsumer("sandbox"), 2, look.HandleNotification)
	workers.Consume(subject.LookupRetries, subject.LookupDueConsumer("sandbox"), 2, look.HandleDue)
	workers.Consume(subject.Statuses, subject.NormalizeConsumer, 2, workers.Fold().Handle)
}

// notify stores a notification as the gateway does.
func (r *rig) notify(payment string) {
	r.T.Helper()
	r.Notify(record.Notification{Payment: payment, Order: "o-" + payment})
}

// last is the last message that matches, nil for none.
func (r *rig) last(stream, filter string) *jetstream.RawStreamMsg {
	r.T.Helper()
	raw, err := r.Stream(stream).GetLastMsgForSubject(r.Ctx, filter)
	if err != nil {
		return nil
	}
	return raw
}

// moved waits until a payment has an event with a status, and its look-ups
// have come to rest.
func (r *rig) moved(payment string, to order.Status) {
	r.T.Helper()
	r.Until(payment+" is "+string(to), func() bool {
		raw := r.last(subject.Orders, r.Unit(payment).Events())
		return raw != nil && path.Ext(raw.Subject) == "."+string(to)
	})
}

// count is how many messages a stream has ever had.
func (r *rig) count(stream string) uint64 {
	r.T.Helper()
	return r.Stream(stream).CachedInfo().State.LastSeq
}

// audits are the entries of AUDIT, in order.
func (r *rig) audits() (all []record.Audit) {
	r.T.Helper()
	for _, raw := range r.Messages(subject.Audit, "audit.>") {
		var a record.Audit
		r.Must(json.Unmarshal(raw.Data, &a))
		if raw.Subject != "audit."+a.Verb {
			r.T.Errorf("audit entry of %s is on %s", a.Verb, raw.Subject)
		}
		all = append(all, a)
	}
	return all
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

// steady is an output without what differs from run to run.
func steady(got string) string {
	for _, c := range changing {
		got = c.what.ReplaceAllString(got, c.as)
	}
	return got
}

// golden holds an output to a file, without what differs from run to run.
func golden(t testing.TB, name, got string) {
	t.Helper()
	got = steady(got)
	file := filepath.Join("testdata", name)
	if *update {
		testbench.Must(t, os.MkdirAll("testdata", 0o755))
		testbench.Must(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	testbench.Must(t, err)
	if got != string(want) {
		t.Errorf("%s differs; go test -update writes it. Got:\n%s", file, got)
	}
}
