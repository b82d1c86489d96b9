package lookup_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/retry"
	"arauto/workers/lookup"
)

// role is a running lookup, of whose look-ups the answer is always paid.
type role struct {
	*testbench.Broker
	out      testbench.Output
	file     string
	provider string
}

// start runs the role. The broker has the consumers of some providers, and the configuration
// an account of the sandbox.
func start(t *testing.T, made ...string) *role {
	t.Helper()
	answer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = fmt.Fprintf(w, `{"payment":%q,"status":"paid","amount":100}`, path.Base(q.URL.Path)) // It fails only if the caller has gone.
	}))
	t.Cleanup(answer.Close)
	r := &role{Broker: testbench.Start(t, made...), file: filepath.Join(t.TempDir(), "arauto.yaml"), provider: answer.URL}
	r.configure("")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		none := func(string) (string, bool) { return "", false }
		ended <- process.Run(ctx, config.RoleLookup, []string{"-config", r.file}, none, io.Discard, &r.out, lookup.Run)
	}()
	t.Cleanup(func() {
		stop()
		if code := testbench.Receive(t, "the role ends", ended); code != process.ExitClean {
			t.Errorf("the role ends with %d:\n%s", code, r.out.String())
		}
	})
	return r
}

// configure writes the configuration, with more providers.
func (r *role) configure(more string) {
	r.T.Helper()
	text := fmt.Sprintf(`profile: local
hash_key: %s
nats: {url: %q}
topology: {store: 1GiB}
lookup: {admin: '127.0.0.1:0'}
providers:
  sandbox: {accounts: {default: {webhook_secrets: [hook], settings: {base_url: %q, token: token}}}}
%s`, testbench.HashKey, r.URL, r.provider, more)
	r.Must(os.WriteFile(r.file+"~", []byte(text), 0o600))
	r.Must(os.Rename(r.file+"~", r.file))
}

var admin = regexp.MustCompile(`"msg":"process.started".*"admin":"([^"]+)"`)

// get requests a path of the admin listener, "" before it answers.
func (r *role) get(path string) string {
	found := admin.FindStringSubmatch(r.out.String())
	if found == nil {
		return ""
	}
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + found[1] + path)
	if err != nil {
		return ""
	}
	defer answer.Body.Close() //nolint:errcheck // Only read from.
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return ""
	}
	return string(text)
}

// observed waits until a notification of a provider has led to an observation.
func (r *role) observed(n record.Notification) {
	r.T.Helper()
	n.Account = "default"
	r.Notify(n)
	r.Until(n.Provider+" to be observed", func() bool {
		return len(r.Messages(subject.Statuses, r.Tokens.Unit(n.Provider, n.Account, n.Payment).Status())) > 0
	})
}

func (r *role) ready() bool { return strings.Contains(r.get("/readyz"), `"ready":true`) }

// A reload adds the first account of a provider before its consumers are made: the role waits
// for them and says so, and looks up the others' payments meanwhile.
func TestAProviderIsServedOnceItsConsumersAreMade(t *testing.T) {
	t.Parallel()
	r := start(t, "sandbox")
	r.Until("the role to be ready without the consumers of the other providers", r.ready)
	if text := r.get("/metrics"); strings.Contains(text, "lookup-beeteller") || !strings.Contains(text, `arauto_consumer_paused{consumer="lookup-sandbox"`) {
		t.Errorf("metrics are\n%s", text)
	}
	r.configure("  beeteller: {accounts: {default: {path_keys: [key]}}}\n")
	r.Until("the missing consumers to be named", func() bool {
		return strings.Contains(r.get("/readyz"), "consumer lookup-beeteller is awaited: if it is missing, run arauto topology apply") &&
			strings.Contains(r.out.String(), `"drift":"consumer lookup-beeteller of NOTIFICATIONS is missing"`) &&
			strings.Contains(r.get("/metrics"), `arauto_consumer_scrape_errors_total{consumer="lookup-due-beeteller",stream="LOOKUP_RETRIES"}`)
	})
	waits := record.Notification{Provider: "beeteller", Account: "default", Payment: "b-1", Order: "o-1", Fields: map[string]string{"status": "PAID"}}
	r.Notify(waits)
	r.observed(record.Notification{Provider: "sandbox", Payment: "p-1"})
	r.Apply("sandbox", "beeteller")
	r.Until("what was stored before to be observed", func() bool {
		return len(r.Messages(subject.Statuses, r.Tokens.Unit("beeteller", "default", "b-1").Status())) > 0
	})
	r.Until("the role to be ready again", r.ready)
}

// The role rests while it is held: it pulls no due look-ups, by which arauto hold sees that, and
// brings none forward although a circuit has closed.
func TestRoleRestsDuringAHold(t *testing.T) {
	t.Parallel()
	r := start(t, "sandbox")
	r.Until("the role to be ready", r.ready)
	due := subject.LookupDueConsumer("sandbox")
	waits := func() int {
		c, err := r.JS.Consumer(r.Ctx, subject.LookupRetries, due)
		r.Must(err)
		return c.CachedInfo().NumWaiting
	}
	r.Until("the role to pull due look-ups", func() bool { return waits() > 0 })
	retries, err := retry.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	circuits, err := breaker.Open(r.Ctx, r.JS)
	r.Must(err)
	r.Must(circuits.OpenBy(r.Ctx, "sandbox", "default", "a test"))
	parked := record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: "p-1", Cause: order.CauseNotification,
		Reason: string(record.Stopped), DueAt: time.Now().Add(time.Hour).UTC(),
	}
	r.Must(retries.Schedule(r.Ctx, retry.Deferred, parked))
	_, err = r.JS.PauseConsumer(r.Ctx, subject.LookupRetries, due, time.Now().Add(time.Hour))
	r.Must(err)
	rested := 0 // Between two pulls of half a second no request waits either.
	r.Until("the role to rest", func() bool {
		if rested++; waits() > 0 {
			rested = 0
		}
		return rested == 200
	})
	r.Must(circuits.CloseBy(r.Ctx, "sandbox", "default", "a test"))
	// The role reads whether it is held once a second for what it pulls, and before each round.
	asked, err := r.NC.SubscribeSync("$JS.API.CONSUMER.INFO.LOOKUP_RETRIES." + due)
	r.Must(err)
	for range 8 {
		_, err := asked.NextMsgWithContext(r.Ctx)
		r.Must(err)
	}
	if entry, err := retries.Read(r.Ctx, "sandbox", "default", "p-1"); err != nil || !entry.Parked.DueAt.Equal(parked.DueAt) {
		t.Errorf("during the hold the look-up became due at %v, %v", entry.Parked.DueAt, err)
	}
	_, err = r.JS.ResumeConsumer(r.Ctx, subject.LookupRetries, due)
	r.Must(err)
	r.Until("the look-up to be made after the hold", func() bool {
		return len(r.Messages(subject.Statuses, r.Tokens.Unit("sandbox", "default", "p-1").Status())) > 0
	})
}

// The first account of a provider is removed again before its consumers are made: then none is
// missing, and the alarm about that ends.
func TestConsumersOfAnAccountThatWasTakenBackAreNotMissed(t *testing.T) {
	t.Parallel()
	r := start(t, "sandbox")
	r.Until("the role to be ready", r.ready)
	errors := func() string {
		return regexp.MustCompile(`arauto_consumer_scrape_errors_total\{consumer="lookup-beeteller".*`).FindString(r.get("/metrics"))
	}
	r.configure("  beeteller: {accounts: {default: {path_keys: [key]}}}\n")
	r.Until("the consumer to be missed", func() bool { before := errors(); return before != "" && errors() != before })
	r.configure("")
	r.Until("the consumer not to be missed", func() bool { before := errors(); return before != "" && errors() == before })
	r.Until("the role to be ready again", r.ready)
}

// Of a provider that has no account any more the role works off what is left.
func TestLeftoverIsWorkedOff(t *testing.T) {
	t.Parallel()
	r := start(t, "sandbox", "beeteller")
	sequence := r.Notify(record.Notification{Provider: "beeteller", Payment: "b-1"})
	r.Until("the notification to be handled", func() bool {
		c, err := r.JS.Consumer(r.Ctx, subject.Notifications, subject.LookupConsumer("beeteller"))
		return err == nil && c.CachedInfo().AckFloor.Stream >= sequence
	})
	r.Until("the role to be ready", r.ready)
}
