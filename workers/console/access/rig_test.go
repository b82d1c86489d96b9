package access_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"arauto/deploy/runtime/testbench"
	"arauto/workers/console/access"
)

const password = "three words and one" //nolint:gosec // G101: made up.

// rig is a console with one page, one action and one event stream.
type rig struct {
	*httptest.Server
	access   *access.Access
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
	settings access.Settings
	acted    chan string // The names of those who acted.
	clock    *testbench.Clock
}

func cheapHash(t *testing.T, of string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(of), bcrypt.MinCost)
	testbench.Must(t, err)
	return string(hash)
}

func start(t *testing.T, change func(*access.Settings)) *rig {
	t.Helper()
	g := &rig{registry: prometheus.NewRegistry(), acted: make(chan string, 10), clock: testbench.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
	g.settings = access.Settings{
		Mode: access.Users, Hosts: []string{"localhost", "127.0.0.1", "::1"}, Streams: "/events", Assets: "/static/", Now: g.clock.Now,
		Users: map[string]access.User{
			"maria": {Hash: cheapHash(t, password), Role: access.Operator},
			"joao":  {Hash: cheapHash(t, password), Role: access.Reader},
		},
		Idle: 30 * time.Minute, Lifetime: 12 * time.Hour,
	}
	if change != nil {
		change(&g.settings)
	}
	log, logs := testbench.Logs(zapcore.DebugLevel)
	g.logs = logs
	a, err := access.New(g.settings, log, g.registry)
	testbench.Must(t, err)
	g.access = a
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		p := access.From(r.Context())
		_, _ = io.WriteString(w, "page for "+p.Name+" "+p.Role.String()+` <input name="csrf" value="`+access.Token(r.Context())+`">`)
	})
	mux.HandleFunc("GET /static/x.css", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "css") })
	mux.Handle("POST /act", access.Require(access.Operator, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.acted <- access.From(r.Context()).Name
		_, _ = io.WriteString(w, "done")
	})))
	mux.Handle("GET /audit", access.Require(access.Operator, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "audit") })))
	mux.HandleFunc("GET /sender", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, access.Sender(r.Context())) })
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		testbench.Must(t, http.NewResponseController(w).Flush())
		<-r.Context().Done()
	})
	g.Server = httptest.NewServer(a.Handler(mux))
	t.Cleanup(g.Close)
	return g
}

// browser is a client with cookies, which does not follow redirects.
type browser struct {
	*http.Client
	g *rig
	t *testing.T
}

func (g *rig) browser(t *testing.T) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	testbench.Must(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return browser{&http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, g, t}
}

// answer is what a browser got.
type answer struct {
	status int
	body   string
	header http.Header
}

func (b browser) do(method, path string, form url.Values, headers ...string) answer {
	b.t.Helper()
	q, err := http.NewRequestWithContext(testbench.Context(b.t), method, b.g.URL+path, strings.NewReader(form.Encode()))
	testbench.Must(b.t, err)
	if method == http.MethodPost {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			q.Host = headers[i+1]
		}
		q.Header.Add(headers[i], headers[i+1])
	}
	resp, err := b.Do(q)
	testbench.Must(b.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	testbench.Must(b.t, err)
	return answer{resp.StatusCode, string(body), resp.Header}
}

func (b browser) get(path string, headers ...string) answer {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, headers...)
}

var hidden = regexp.MustCompile(`name="csrf" value="([^"]*)"`)

// token is that of the form on a page.
func (b browser) token(path string) string {
	b.t.Helper()
	m := hidden.FindStringSubmatch(b.get(path).body)
	if m == nil {
		b.t.Fatalf("%s has no token", path)
	}
	return m[1]
}

func (b browser) login(name, with string, headers ...string) answer {
	b.t.Helper()
	return b.do(http.MethodPost, "/login", url.Values{"name": {name}, "password": {with}, "csrf": {b.token("/login")}, "next": {"/?a=b"}}, headers...)
}

func (b browser) loggedIn(name string) browser {
	b.t.Helper()
	if got := b.login(name, password); got.status != http.StatusSeeOther || got.header.Get("Location") != "/?a=b" {
		b.t.Fatalf("the log-in of %s got %d to %q: %s", name, got.status, got.header.Get("Location"), got.body)
	}
	return b
}

func (b browser) cookie() string {
	u, err := url.Parse(b.g.URL)
	testbench.Must(b.t, err)
	for _, c := range b.Jar.Cookies(u) {
		return c.Value
	}
	return ""
}

func want(t *testing.T, what string, got answer, status int, part string) {
	t.Helper()
	if got.status != status || !strings.Contains(got.body, part) {
		t.Errorf("%s: got %d, want %d with %q: %s", what, got.status, status, part, got.body)
	}
}

func (g *rig) nothingDone(t *testing.T) {
	t.Helper()
	select {
	case who := <-g.acted:
		t.Errorf("%q acted", who)
	default:
	}
}

func networks(all ...string) (parsed []netip.Prefix) {
	for _, n := range all {
		parsed = append(parsed, netip.MustParsePrefix(n))
	}
	return parsed
}
