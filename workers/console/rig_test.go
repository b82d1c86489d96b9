package console

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/console/access"
	"arauto/workers/console/index"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/retry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a broker with the pages on it, where a proxy names the person.
type rig struct {
	*testbench.Broker
	site   *site
	config string
	url    string

	letters uint64
}

// start serves the pages of a broker with the consumers of one provider. It feeds the index and
// looks at the broker only when a test says so.
func start(t *testing.T) *rig {
	t.Helper()
	return startOn(t, "sandbox")
}

// startOn is start with the consumers of other providers.
func startOn(t *testing.T, names ...string) *rig {
	t.Helper()
	r := &rig{Broker: testbench.Start(t, names...)}
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
        settings: {base_url: "http://127.0.0.1:1", token: token}
`, testbench.HashKey, r.URL), 0o600))
	cfg, err := config.Load(r.config, func(string) (string, bool) { return "", false }, providers.All, config.RoleConsole)
	r.Must(err)
	payments, err := index.Open(filepath.Join(t.TempDir(), "index"), r.Tokens)
	r.Must(err)
	t.Cleanup(func() { r.Must(payments.Close()) })
	r.site, err = newSite(Options{
		Config: func() *config.Config { return cfg }, Tokens: r.Tokens, JS: r.JS, Index: payments, Log: zap.NewNop(), Now: time.Now, Acts: r.JS, LogsIn: func() bool { return true },
	})
	r.Must(err)
	who, err := access.New(access.Settings{
		Mode: access.Proxy, Hosts: []string{"127.0.0.1"}, Header: "X-Person", Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Persons: map[string]access.Role{"maria": access.Operator, "ana": access.Operator, "joao": access.Reader}, Assets: "/static/", Streams: livePath,
	}, zap.NewNop(), prometheus.NewRegistry())
	r.Must(err)
	server := httptest.NewServer(who.Handler(r.site.handler()))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// run runs an actor until the test ends.
func (r *rig) run(name string, actor func(context.Context) error) {
	r.Go(name, func(ctx context.Context) error {
		if err := actor(ctx); ctx.Err() == nil {
			return err
		}
		return nil
	})
}

// feed brings the index up to date.
func (r *rig) feed() {
	r.T.Helper()
	for more := true; more; {
		var err error
		more, err = r.site.follow.step(r.Ctx)
		r.Must(err)
	}
}

// look looks at the broker once.
func (r *rig) look() {
	r.T.Helper()
	r.site.watch.look(r.Ctx)
	r.Must(r.site.watch.last.Load().Err)
}

// event stores an event of a payment, as normalize does.
func (r *rig) event(payment string, from, to order.Status, transition uint64, change ...func(*order.Event)) uint64 {
	r.T.Helper()
	e := order.Event{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Order: "o-" + payment, Payment: payment, Transition: transition, Status: to,
		Confirmed: true, ProviderStatus: string(to), Amount: &order.Amount{Currency: "BRL", Value: 1234}, ObservedAt: time.Now().UTC(), Observation: transition,
	}
	if from != "" {
		e.From = &from
	}
	for _, c := range change {
		c(&e)
	}
	m := nats.NewMsg(r.Unit(payment).Event(r.Tokens.Token(e.Order), to))
	for name, value := range e.CloudEvent("", r.Tokens.Shown(e.Order)) {
		m.Header.Set(name, value)
	}
	var err error
	m.Data, err = json.Marshal(e)
	r.Must(err)
	ack, err := r.JS.PublishMsg(r.Ctx, m)
	r.Must(err)
	return ack.Sequence
}

// park schedules a look-up of a payment that has failed.
func (r *rig) park(payment string) {
	r.T.Helper()
	store, err := retry.Open(r.Ctx, r.JS, r.Tokens)
	r.Must(err)
	r.Must(store.Schedule(r.Ctx, retry.Fresh, record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: "o-" + payment,
		Cause: order.CauseNotification, Reason: string(record.Unavailable), Attempts: 3, DueAt: time.Now().Add(time.Hour).UTC(),
	}))
}

// letter stores a dead letter of a payment.
func (r *rig) letter(payment, word string) record.DeadLetter {
	r.T.Helper()
	r.letters++
	l := record.DeadLetter{
		ID: deadletter.ID(subject.Statuses, r.letters), Class: record.ClassProvider, Stage: record.StageNormalize, Provider: "sandbox", Account: "default", Kind: order.Payment,
		Payment: payment, Order: "o-" + payment, Cause: "a word that is not known", LastAnswer: "answered", Stream: subject.Statuses, Sequence: r.letters,
		ProviderStatus: word, Next: "teach the adapter the word", At: time.Now().UTC(),
	}
	r.Publish(r.Unit(payment).DeadLetter(string(l.Class), l.Stage), l)
	return l
}

// browser is a person with cookies.
type browser struct {
	*rig
	http.Client
	person, language string
}

func (r *rig) browser(person string) *browser {
	r.T.Helper()
	jar, err := cookiejar.New(nil)
	r.Must(err)
	b := &browser{rig: r, person: person, Client: http.Client{Jar: jar, Transport: &http.Transport{}}}
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r.T.Cleanup(b.CloseIdleConnections)
	return b
}

// send sends a request and returns the answer's code and body, and where it leads.
func (b *browser) send(method, path string, form url.Values) (code int, body, to string) {
	b.T.Helper()
	request, err := http.NewRequestWithContext(b.Ctx, method, b.url+path, strings.NewReader(form.Encode()))
	b.Must(err)
	request.Header.Set("X-Person", b.person)
	request.Header.Set("Accept-Language", b.language)
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", b.url)
	}
	answer, err := b.Do(request)
	b.Must(err)
	defer answer.Body.Close() //nolint:errcheck // It was read.
	text, err := io.ReadAll(answer.Body)
	b.Must(err)
	return answer.StatusCode, string(text), answer.Header.Get("Location")
}

// see reads a page, which must be there.
func (b *browser) see(path string) string {
	b.T.Helper()
	code, body, _ := b.send(http.MethodGet, path, nil)
	if code != http.StatusOK {
		b.T.Fatalf("GET %s: %d\n%s", path, code, body)
	}
	return body
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// confirm opens an action's page and sends its form.
func (b *browser) confirm(path string, more url.Values) (code int, body, to string) {
	b.T.Helper()
	page := b.see(path)
	_, form, found := strings.Cut(page, `class="confirm">`)
	if !found {
		b.T.Fatalf("GET %s has no form:\n%s", path, page)
	}
	fields := url.Values{}
	for _, field := range hidden.FindAllStringSubmatch(form, -1) {
		fields.Set(field[1], strings.NewReplacer("&#43;", "+", "&amp;", "&", "&#39;", "'").Replace(field[2]))
	}
	for name, values := range more {
		fields[name] = values
	}
	at, _, _ := strings.Cut(path, "?")
	return b.send(http.MethodPost, at, fields)
}

// audits are the entries of AUDIT.
func (r *rig) audits() []record.Audit {
	r.T.Helper()
	var all []record.Audit
	for _, raw := range r.Messages(subject.Audit, subject.AllAudit) {
		var a record.Audit
		r.Must(json.Unmarshal(raw.Data, &a))
		all = append(all, a)
	}
	return all
}

// holds wants texts in a page.
func holds(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q:\n%s", text, page)
		}
	}
}
