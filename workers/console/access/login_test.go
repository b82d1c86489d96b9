package access_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/workers/console/access"
)

func TestPersonLogsInActsAndLogsOut(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	b := g.browser(t)
	if got := b.get("/?x=y"); got.status != http.StatusSeeOther || got.header.Get("Location") != "/login?next=%2F%3Fx%3Dy" {
		t.Errorf("without a log-in: %d to %q", got.status, got.header.Get("Location"))
	}
	b.loggedIn("maria")
	want(t, "page", b.get("/"), http.StatusOK, "page for maria operator")
	want(t, "page of operators", b.get("/audit"), http.StatusOK, "audit")
	want(t, "action", b.do(http.MethodPost, "/act", url.Values{"csrf": {b.token("/")}}), http.StatusOK, "done")
	if who := <-g.acted; who != "maria" {
		t.Errorf("%q acted", who)
	}
	if n := testbench.Value(t, g.registry, "arauto_console_sessions"); n != 1 {
		t.Errorf("there are %v sessions", n)
	}
	old := b.cookie()
	if got := b.do(http.MethodPost, "/logout", url.Values{"csrf": {b.token("/")}}); got.status != http.StatusSeeOther || b.cookie() == old {
		t.Errorf("the log-out got %d", got.status)
	}
	if n := testbench.Value(t, g.registry, "arauto_console_sessions"); n != 0 {
		t.Errorf("there are %v sessions after the log-out", n)
	}
	want(t, "old cookie", g.browser(t).get("/", "Cookie", "arauto_console="+old), http.StatusSeeOther, "")
	if got := testbench.Value(t, g.registry, "arauto_console_logins_total", "accepted"); got != 1 {
		t.Errorf("%v log-ins are counted", got)
	}
}

func TestWrongPasswordIsRefusedAndNeverLogged(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	b := g.browser(t)
	wrong := map[string]string{
		"maria": "canary-of-a-password", "unknown-person": password, "canary-typed-as-name": "x", "": "",
		"joao": strings.Repeat("canary", 20),
	}
	for name, typed := range wrong {
		got := b.login(name, typed)
		want(t, name, got, http.StatusForbidden, "The name or the password is wrong.")
		if strings.Contains(got.body, `"`+typed+`"`) && len(typed) > 1 {
			t.Errorf("the page shows the password of %q", name)
		}
		want(t, "page after it", b.get("/"), http.StatusSeeOther, "")
	}
	for _, entry := range g.logs.All() {
		if text := entry.Message + strings.Join(keysAndValues(entry.ContextMap()), " "); strings.Contains(text, "canary") {
			t.Errorf("the log shows what was typed: %s", text)
		}
	}
	if got := testbench.Value(t, g.registry, "arauto_console_logins_total", "refused"); got != float64(len(wrong)) {
		t.Errorf("%v refused log-ins are counted", got)
	}
}

// TestBytesBehindThe72ndCount: bcrypt looks at 72 bytes and no further.
func TestBytesBehindThe72ndCount(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("0123456789ab", 6)
	g := start(t, func(s *access.Settings) {
		s.Users["maria"] = access.User{Hash: cheapHash(t, longest), Role: access.Reader}
	})
	want(t, "longer password", g.browser(t).login("maria", longest+"x"), http.StatusForbidden, "wrong")
	want(t, "whole password", g.browser(t).login("maria", longest), http.StatusSeeOther, "")
}

func TestLoginLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for next, to := range map[string]string{
		"/payments/a/b/c?d=%20e": "/payments/a/b/c?d=%20e",
		"https://evil.example/":  "/", "//evil.example/": "/", `/\evil.example`: "/", "javascript:alert(1)": "/", "": "/", "x": "/",
		"/\tevil": "/", "///evil.example": "/", "http:/evil": "/", `\\evil`: "/",
	} {
		b := g.browser(t)
		got := b.do(http.MethodPost, "/login", url.Values{"name": {"maria"}, "password": {password}, "csrf": {b.token("/login")}, "next": {next}})
		if got.status == http.StatusTooManyRequests {
			g.clock.Advance(time.Hour)
			got = b.do(http.MethodPost, "/login", url.Values{"name": {"maria"}, "password": {password}, "csrf": {b.token("/login")}, "next": {next}})
		}
		if got.status != http.StatusSeeOther || got.header.Get("Location") != to {
			t.Errorf("%q led with %d to %q, want %q", next, got.status, got.header.Get("Location"), to)
		}
	}
}

func TestSessionEndsIdleAndAfterItsLifetime(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	b := g.browser(t).loggedIn("maria")
	g.clock.Advance(29 * time.Minute)
	want(t, "within idle", b.get("/"), http.StatusOK, "maria")
	g.clock.Advance(29 * time.Minute)
	want(t, "within idle again", b.get("/"), http.StatusOK, "maria")
	g.clock.Advance(30 * time.Minute)
	want(t, "idle", b.get("/"), http.StatusSeeOther, "")

	b = g.browser(t).loggedIn("maria")
	for range 12*3 - 1 {
		g.clock.Advance(20 * time.Minute)
		want(t, "in use", b.get("/"), http.StatusOK, "maria")
	}
	g.clock.Advance(20 * time.Minute)
	want(t, "after its lifetime", b.get("/"), http.StatusSeeOther, "")
}

func TestEventStreamIsNoUseOfASessionAndEndsWithIt(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	b := g.browser(t).loggedIn("maria")
	g.clock.Advance(29 * time.Minute)
	want(t, "refresh", b.get("/", "X-Fragment", "1"), http.StatusOK, "maria")
	ended := make(chan answer, 1)
	streaming := b.stream()
	go func() { ended <- streaming() }()
	g.clock.Advance(time.Minute)
	want(t, "page after the idle time", b.get("/"), http.StatusSeeOther, "")
	if got := <-ended; got.status != http.StatusOK {
		t.Errorf("the stream got %d", got.status)
	}
	want(t, "refresh without a session", b.get("/", "X-Fragment", "1"), http.StatusUnauthorized, "Your session has ended")
	want(t, "stream without a session", b.get("/events"), http.StatusUnauthorized, "Your session has ended")
}

// stream opens an event stream, without the header that browsers send; the result waits for its end.
func (b browser) stream() func() answer {
	b.t.Helper()
	q, err := http.NewRequestWithContext(testbench.Context(b.t), http.MethodGet, b.g.URL+"/events", nil)
	testbench.Must(b.t, err)
	resp, err := b.Do(q) //nolint:bodyclose // Below.
	testbench.Must(b.t, err)
	return func() answer {
		defer resp.Body.Close()
		_, _ = resp.Body.Read(make([]byte, 1)) // Its end is what is waited for.
		return answer{status: resp.StatusCode}
	}
}

func TestRemovedPersonAndChangedRoleHoldAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	maria, joao := g.browser(t).loggedIn("maria"), g.browser(t).loggedIn("joao")
	changed := g.settings
	changed.Users = map[string]access.User{"maria": {Hash: g.settings.Users["maria"].Hash, Role: access.Reader}}
	testbench.Must(t, g.access.Replace(changed))
	want(t, "less of a role", maria.get("/"), http.StatusOK, "maria reader")
	want(t, "action", maria.do(http.MethodPost, "/act", url.Values{"csrf": {maria.token("/")}}), http.StatusForbidden, "Nothing was changed")
	want(t, "removed person", joao.get("/"), http.StatusSeeOther, "")
	changed.Users = map[string]access.User{"maria": {Hash: cheapHash(t, "another long password"), Role: access.Operator}}
	testbench.Must(t, g.access.Replace(changed))
	want(t, "changed password", maria.get("/"), http.StatusSeeOther, "")
	g.nothingDone(t)
}

func TestSessionsOfAPersonAreBounded(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	var all []browser
	for range 9 {
		g.clock.Advance(time.Minute)
		all = append(all, g.browser(t).loggedIn("maria"))
	}
	want(t, "the first", all[0].get("/"), http.StatusSeeOther, "")
	want(t, "the second", all[1].get("/"), http.StatusOK, "maria")
	if n := testbench.Value(t, g.registry, "arauto_console_sessions"); n != 8 {
		t.Errorf("there are %v sessions", n)
	}
}

func TestLoginIsThrottledByAddressAndName(t *testing.T) {
	t.Parallel()
	g := start(t, func(s *access.Settings) { s.Proxies = networks("127.0.0.0/8") })
	from := func(address string) []string { return []string{"X-Forwarded-For", "203.0.113.99, " + address} }
	b := g.browser(t)
	for i := range 10 {
		want(t, "guess", b.login("maria", "guess"+strings.Repeat("!", i), from("192.0.2.1")...), http.StatusForbidden, "wrong")
	}
	got := b.login("maria", password, from("192.0.2.1")...)
	want(t, "one more", got, http.StatusTooManyRequests, "Wait half a minute")
	if got.header.Get("Retry-After") != "30" {
		t.Errorf("Retry-After is %q", got.header.Get("Retry-After"))
	}
	want(t, "another name from the address", b.login("joao", password, from("192.0.2.1")...), http.StatusTooManyRequests, "")
	want(t, "the name from another address", b.login("maria", password, from("192.0.2.2")...), http.StatusTooManyRequests, "")
	want(t, "another name from another address", b.login("joao", password, from("192.0.2.2")...), http.StatusSeeOther, "")
	g.clock.Advance(31 * time.Second)
	want(t, "after a while", b.login("maria", password, from("192.0.2.3")...), http.StatusSeeOther, "")
	if got := testbench.Value(t, g.registry, "arauto_console_logins_total", "throttled"); got != 3 {
		t.Errorf("%v throttled log-ins are counted", got)
	}
}

func TestStrangersDoNotLockAPersonOut(t *testing.T) {
	t.Parallel()
	g := start(t, func(s *access.Settings) { s.Proxies = networks("127.0.0.0/8") })
	home := []string{"X-Forwarded-For", "198.51.100.7"}
	g.browser(t).login("maria", password, home...)
	b := g.browser(t)
	for i := range 12 {
		b.login("maria", "guess", "X-Forwarded-For", "192.0.2."+string(rune('0'+i%10)))
	}
	want(t, "from a new place", b.login("maria", password, "X-Forwarded-For", "192.0.2.200"), http.StatusTooManyRequests, "")
	want(t, "from where she was before", b.login("maria", password, home...), http.StatusSeeOther, "")
}

// TestUnknownNameIsThrottledLikeAKnownOne: otherwise the limit would tell which names exist.
func TestUnknownNameIsThrottledLikeAKnownOne(t *testing.T) {
	t.Parallel()
	g := start(t, func(s *access.Settings) { s.Proxies = networks("127.0.0.0/8") })
	b := g.browser(t)
	for _, name := range []string{"maria", "unknown"} {
		var statuses []int
		for i := range 12 {
			statuses = append(statuses, b.login(name, "guess", "X-Forwarded-For", "2001:db8:0:"+string(rune('a'+i%6))+string(rune('0'+i%10))+"::1").status)
		}
		for i, status := range statuses {
			if wanted := map[bool]int{true: http.StatusForbidden, false: http.StatusTooManyRequests}[i < 10]; status != wanted {
				t.Errorf("attempt %d of %s got %d, want %d", i+1, name, status, wanted)
			}
		}
	}
}

func keysAndValues(m map[string]any) (all []string) {
	for k, v := range m {
		all = append(all, k)
		if text, ok := v.(string); ok {
			all = append(all, text)
		}
	}
	return all
}
