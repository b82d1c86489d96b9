package access_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"arauto/deploy/runtime/testbench"
	"arauto/workers/console/access"
)

func TestRequestOfAnotherSiteIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	maria, attacker := g.browser(t).loggedIn("maria"), g.browser(t).loggedIn("joao")
	own := maria.token("/")
	for what, c := range map[string]struct {
		token   string
		headers []string
	}{
		"without a token":                      {},
		"with a token of another person":       {token: attacker.token("/")},
		"with a token from before the log-in":  {token: g.browser(t).token("/login")},
		"with its token, sent by another site": {token: own, headers: []string{"Sec-Fetch-Site", "cross-site"}},
		"by a neighbouring host":               {token: own, headers: []string{"Sec-Fetch-Site", "same-site"}},
		"with another origin":                  {token: own, headers: []string{"Origin", "https://evil.example"}},
		"from a sandboxed frame":               {token: own, headers: []string{"Origin", "null"}},
		"with a part of its token":             {token: own[:len(own)-1]},
	} {
		want(t, what, maria.do(http.MethodPost, "/act", url.Values{"csrf": {c.token}}, c.headers...), http.StatusForbidden, "Nothing was changed")
		g.nothingDone(t)
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch, "ACT"} {
		want(t, method, maria.do(method, "/act", nil), http.StatusForbidden, "")
	}
	want(t, "token in the address", maria.do(http.MethodPost, "/act?csrf="+url.QueryEscape(own), nil), http.StatusForbidden, "")
	want(t, "log-out by another site", maria.do(http.MethodPost, "/logout", nil), http.StatusForbidden, "")
	want(t, "session after all that", maria.get("/"), http.StatusOK, "maria")
	g.nothingDone(t)
	want(t, "own page", maria.do(http.MethodPost, "/act", url.Values{"csrf": {own}}, "Sec-Fetch-Site", "same-origin"), http.StatusOK, "done")
	<-g.acted
	want(t, "own script", maria.do(http.MethodPost, "/act", nil, "X-CSRF-Token", own, "Origin", g.URL), http.StatusOK, "done")
}

func TestLoginNeedsItsOwnToken(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	b := g.browser(t)
	b.get("/login")
	form := url.Values{"name": {"maria"}, "password": {password}}
	want(t, "without a token", b.do(http.MethodPost, "/login", form), http.StatusForbidden, "Nothing was changed")
	form.Set("csrf", g.browser(t).token("/login"))
	want(t, "with the token of another browser", b.do(http.MethodPost, "/login", form), http.StatusForbidden, "Nothing was changed")
	want(t, "without a cookie", g.browser(t).do(http.MethodPost, "/login", form), http.StatusForbidden, "Nothing was changed")
}

// TestCookieOfBeforeTheLoginHasNoSession: an attacker who planted it would be in the
// session.
func TestCookieOfBeforeTheLoginHasNoSession(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	b := g.browser(t)
	b.token("/login")
	planted := b.cookie()
	b.loggedIn("maria")
	if planted == "" || b.cookie() == planted {
		t.Errorf("the cookie stayed %q", planted)
	}
	want(t, "planted cookie", g.browser(t).get("/", "Cookie", "arauto_console="+planted), http.StatusSeeOther, "")
	first := b.cookie()
	b.loggedIn("maria")
	want(t, "cookie of the session before", g.browser(t).get("/", "Cookie", "arauto_console="+first), http.StatusSeeOther, "")
	want(t, "own cookie", b.get("/"), http.StatusOK, "maria")
}

func TestReaderCannotAct(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	b := g.browser(t).loggedIn("joao")
	want(t, "action of a reader", b.do(http.MethodPost, "/act", url.Values{"csrf": {b.token("/")}, "role": {"operator"}}, "X-Forwarded-User", "maria"), http.StatusForbidden, "not act")
	want(t, "page of operators", b.get("/audit"), http.StatusForbidden, "")
	g.nothingDone(t)
	if n := testbench.Value(t, g.registry, "arauto_console_refusals_total", "role"); n != 2 {
		t.Errorf("%v refusals are counted", n)
	}
}

func TestReadingWithoutALoginIsNoActing(t *testing.T) {
	t.Parallel()
	g := start(t, func(s *access.Settings) { s.WithoutLogin = access.Reader })
	b := g.browser(t)
	want(t, "page", b.get("/"), http.StatusOK, "page for  reader")
	want(t, "action", b.do(http.MethodPost, "/act", url.Values{"csrf": {b.token("/")}}), http.StatusForbidden, "Nothing was changed")
	want(t, "page of operators", b.get("/audit"), http.StatusSeeOther, "")
	want(t, "action after a log-in", b.loggedIn("maria").do(http.MethodPost, "/act", url.Values{"csrf": {b.token("/")}}), http.StatusOK, "done")
	<-g.acted
}

func TestOffReadsAndNeverActs(t *testing.T) {
	t.Parallel()
	g := start(t, func(s *access.Settings) { s.Mode = access.Off })
	b := g.browser(t)
	want(t, "page", b.get("/"), http.StatusOK, "page for  reader")
	want(t, "action", b.do(http.MethodPost, "/act", url.Values{"csrf": {b.token("/")}}), http.StatusForbidden, "not act")
	want(t, "there is no log-in", b.get("/login"), http.StatusNotFound, "")
	g.nothingDone(t)
}

func TestHostThatIsNotTheConsolesIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t, func(s *access.Settings) {
		s.Mode, s.Hosts = access.Off, append(s.Hosts, "console.example")
	})
	b := g.browser(t)
	for _, host := range []string{"evil.example", "evil.example:8070", "localhost.evil.example", "127.0.0.1.evil.example", "xlocalhost", "127.0.0.2", "console.example.evil", "[::2]:80"} {
		for _, path := range []string{"/", "/static/x.css", "/login", "/events"} {
			want(t, host+path, b.get(path, "Host", host), http.StatusMisdirectedRequest, "console.hosts")
		}
	}
	for _, host := range []string{"localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8070", "console.example", "console.example:443", "console.example."} {
		want(t, host, b.get("/", "Host", host), http.StatusOK, "page")
	}
	if n := testbench.Value(t, g.registry, "arauto_console_refusals_total", "host"); n != 8*4 {
		t.Errorf("%v refusals are counted", n)
	}
}

func TestHeaderOfAnUntrustedPeerCountsForNothing(t *testing.T) {
	t.Parallel()
	persons := map[string]access.Role{"maria": access.Operator, "*": access.Reader}
	behind := func(networksOfProxies ...string) *rig {
		return start(t, func(s *access.Settings) {
			s.Mode, s.Header, s.Persons, s.Proxies = access.Proxy, "X-Forwarded-User", persons, networks(networksOfProxies...)
		})
	}
	far := behind("10.0.0.0/8")
	b := far.browser(t)
	want(t, "forged header", b.get("/", "X-Forwarded-User", "maria", "X-Forwarded-For", "10.0.0.1", "X-Real-IP", "10.0.0.1"), http.StatusForbidden, "may not use")
	want(t, "no header", b.get("/"), http.StatusForbidden, "may not use")
	if n := testbench.Value(t, far.registry, "arauto_console_refusals_total", "proxy"); n != 1 {
		t.Errorf("%v forged headers are counted", n)
	}

	near := behind("127.0.0.0/8", "::1/128")
	b = near.browser(t)
	for _, given := range [][]string{nil, {"maria", "maria"}, {"maria", "joao"}, {"maria@example.com"}, {"Maria"}, {"maria,joao"}, {"*"}, {""}, {"../maria"}, {strings.Repeat("m", 65)}} {
		var headers []string
		for _, value := range given {
			headers = append(headers, "X-Forwarded-User", value)
		}
		want(t, strings.Join(given, " and "), b.get("/", headers...), http.StatusForbidden, "may not use")
	}
	want(t, "another name", b.get("/", "X-Forwarded-User", "joao"), http.StatusOK, "page for joao reader")
	operator := b.get("/", "X-Forwarded-User", "maria")
	want(t, "operator", operator, http.StatusOK, "page for maria operator")
	token := hidden.FindStringSubmatch(operator.body)[1]
	want(t, "token of maria, sent as joao", b.do(http.MethodPost, "/act", url.Values{"csrf": {token}}, "X-Forwarded-User", "joao"), http.StatusForbidden, "")
	want(t, "action without a token", b.do(http.MethodPost, "/act", nil, "X-Forwarded-User", "maria"), http.StatusForbidden, "")
	near.nothingDone(t)
	want(t, "action", b.do(http.MethodPost, "/act", url.Values{"csrf": {token}}, "X-Forwarded-User", "maria"), http.StatusOK, "done")
	<-near.acted
}

func TestEveryAnswerHasItsHeaders(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	b := g.browser(t)
	for _, path := range []string{"/", "/login", "/nothing", "/static/x.css", "/login/style.css"} {
		h := b.get(path).header
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s has the policy %q", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" || h.Get("X-Frame-Options") != "DENY" || h.Get("Cache-Control") == "" {
			t.Errorf("%s has %v", path, h)
		}
	}
	cookie := g.browser(t).get("/login").header.Get("Set-Cookie")
	if !strings.HasPrefix(cookie, "arauto_console=") || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") || strings.Contains(cookie, "Domain") {
		t.Errorf("the cookie is %q", cookie)
	}
	secure := start(t, func(s *access.Settings) { s.Secure = true })
	if cookie := secure.browser(t).get("/login").header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-arauto_console=") || !strings.Contains(cookie, "; Secure") || !strings.Contains(cookie, "Path=/;") {
		t.Errorf("the cookie is %q", cookie)
	}
}

func TestRequestBodyIsBounded(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	b := g.browser(t).loggedIn("maria")
	want(t, "large body", b.do(http.MethodPost, "/act", url.Values{"filler": {strings.Repeat("x", 100<<10)}, "csrf": {b.token("/")}}), http.StatusForbidden, "")
	g.nothingDone(t)
}

func TestRequireRefusesWithoutHandler(t *testing.T) {
	t.Parallel()
	if p := access.From(t.Context()); p.Role >= access.Reader || access.Token(t.Context()) != "" {
		t.Errorf("a context without a person has %+v", p)
	}
}

func TestSettingsThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for what, s := range map[string]access.Settings{
		"mode":   {Mode: "public"},
		"hash":   {Mode: access.Users, Users: map[string]access.User{"maria": {Hash: "x"}}, Idle: 1, Lifetime: 1},
		"times":  {Mode: access.Users, Idle: 2, Lifetime: 1},
		"header": {Mode: access.Proxy, Proxies: networks("::1/128")},
		"proxy":  {Mode: access.Proxy, Header: "x"},
	} {
		if err := g.access.Replace(s); err == nil {
			t.Errorf("%s: the settings were taken", what)
		}
	}
	want(t, "settings from before", g.browser(t).loggedIn("maria").get("/"), http.StatusOK, "maria")
}

func TestHashRefusesWeakPasswordsAndIsAccepted(t *testing.T) {
	t.Parallel()
	for _, weak := range []string{"", "short", strings.Repeat("x", 14), strings.Repeat("x", 73), "with a\nline break in it"} {
		if hash, err := access.HashWith(weak, bcrypt.MinCost); err == nil || hash != "" || weak != "" && strings.Contains(err.Error(), weak) {
			t.Errorf("%q: %v", weak, err)
		}
	}
	hash, err := access.HashWith("uma senha de três palavras", bcrypt.MinCost)
	testbench.Must(t, err)
	g := start(t, func(s *access.Settings) { s.Users["maria"] = access.User{Hash: hash, Role: access.Reader} })
	// The same letters as another keyboard sends them, with the accent apart.
	want(t, "decomposed letters", g.browser(t).login("maria", "uma senha de tre\u0302s palavras"), http.StatusSeeOther, "")
}

func TestLimitsCountAPersonOrANetwork(t *testing.T) {
	t.Parallel()
	g := start(t, func(s *access.Settings) {
		s.WithoutLogin, s.Proxies = access.Reader, networks("127.0.0.0/8")
	})
	b := g.browser(t)
	for address, sender := range map[string]string{"192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64"} {
		if got := b.get("/sender", "X-Forwarded-For", address).body; got != sender {
			t.Errorf("a request from %s counts for %q, want %q", address, got, sender)
		}
	}
	if got := b.loggedIn("maria").get("/sender", "X-Forwarded-For", "192.0.2.1").body; got != "maria" {
		t.Errorf("a person's request counts for %q", got)
	}
}

func TestRefusalHasItsStyleInEveryMode(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*access.Settings){
		func(s *access.Settings) { s.Mode = access.Off },
		func(s *access.Settings) {
			s.Mode, s.Header, s.Proxies = access.Proxy, "X-Forwarded-User", networks("10.0.0.0/8")
		},
	} {
		b := start(t, change).browser(t)
		refused := b.do(http.MethodPost, "/act", nil)
		want(t, "refusal", refused, http.StatusForbidden, "Nothing was changed")
		style := regexp.MustCompile(`rel="stylesheet" href="([^"]*)"`).FindStringSubmatch(refused.body)
		if style == nil {
			t.Fatalf("the refusal has no style: %s", refused.body)
		}
		want(t, "style", b.get(style[1]), http.StatusOK, "font")
	}
}
