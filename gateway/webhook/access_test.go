package webhook_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/ingress"
	"arauto/gateway/webhook"
	"arauto/schemas/providers"
)

// accessTo is an Access to the account default of sandbox.
func accessTo(a webhook.Access) map[string]map[string]webhook.Access {
	return map[string]map[string]webhook.Access{"sandbox": {"default": a}}
}

func networks(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, n := range list {
		all[i] = netip.MustParsePrefix(n)
	}
	return all
}

// certified is a gateway whose sandbox takes the certificates of an authority.
func certified(t *testing.T, names ...string) (*gateway, *testbench.Authority, *x509.CertPool) {
	t.Helper()
	a := testbench.NewAuthority(t)
	g, _, pool := startTLS(t, func(o *webhook.Options) {
		o.ReadTimeout = time.Minute
		o.Access = accessTo(webhook.Access{Authorities: a.Pool, Names: names})
	})
	return g, a, pool
}

// offering is a client with a certificate.
func offering(t *testing.T, pool *x509.CertPool, files testbench.Certificate) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.File, files.Key)
	testbench.Must(t, err)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}
}

// send sends text on a new TLS connection and returns the answer.
func (g *gateway) send(c *tls.Config, text string) reply {
	g.t.Helper()
	conn, err := g.handshake(c)
	testbench.Must(g.t, err)
	defer conn.Close()
	fmt.Fprint(conn, text)
	return next(g.t, bufio.NewReader(conn))
}

func TestClientCertificateIsNeededBesideTheCredential(t *testing.T) {
	t.Parallel()
	g, a, pool := certified(t, "sender.example")
	right := offering(t, pool, a.Issue(t, "Sender.example", time.Hour))
	unknown := g.send(&tls.Config{RootCAs: pool}, "POST /v1/sandbox/unknown/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	wrongSecret := "POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: wrong\r\nContent-Length: 2\r\n\r\n{}"
	other := fmt.Sprintf("POST /v1/sandbox/acme/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 15\r\n\r\n{\"payment\":\"q\"}",
		caller{name: "sandbox"}.secret("acme"))
	for about, c := range map[string]struct {
		client *tls.Config
		text   string
		code   int
	}{
		"right":                             {right, request("p", ""), 200},
		"none":                              {&tls.Config{RootCAs: pool}, request("p", ""), 401100},
		"none, and a wrong secret":          {&tls.Config{RootCAs: pool}, wrongSecret, 401100},
		"right, and a wrong secret":         {right, wrongSecret, 400105},
		"none, for another account":         {&tls.Config{RootCAs: pool}, other, 200},
		"of another authority":              {offering(t, pool, testbench.NewAuthority(t).Issue(t, "sender.example", time.Hour)), request("p", ""), 401100},
		"expired":                           {offering(t, pool, a.Issue(t, "sender.example", -time.Hour)), request("p", ""), 401100},
		"of another name":                   {offering(t, pool, a.Issue(t, "stranger.example", time.Hour)), request("p", ""), 401100},
		"none, and a body that never comes": {&tls.Config{RootCAs: pool}, head("HTTP/1.1") + "Content-Length: 1000\r\n\r\n", 401100},
	} {
		got := g.send(c.client, c.text)
		if got.code(t) != c.code {
			t.Errorf("%s: code %d, want %d", about, got.code(t), c.code)
		}
		if c.code == 401100 && got.body != unknown.body {
			t.Errorf("%s: %q is not the answer for an unknown account, %q", about, got.body, unknown.body)
		}
	}
	if got := g.metric("arauto_webhooks_total", "client_certificate"); got != 6 {
		t.Errorf("%v webhooks are refused for their certificate, want 6", got)
	}
	if n := len(g.stored()); n != 2 {
		t.Errorf("%d notifications are stored, want 2", n)
	}
}

// TestClientCertificateHoldsForAConnectionAndItsResumption sends two webhooks on one
// connection, and one on a second connection that resumes the session.
func TestClientCertificateHoldsForAConnectionAndItsResumption(t *testing.T) {
	t.Parallel()
	g, a, pool := certified(t)
	c := offering(t, pool, a.Issue(t, "sender", time.Hour))
	c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i := range 2 {
		conn, err := g.handshake(c)
		testbench.Must(t, err)
		if conn.ConnectionState().DidResume != (i == 1) {
			t.Errorf("connection %d resumes: %t", i, i != 1)
		}
		r := bufio.NewReader(conn)
		for range 2 {
			fmt.Fprint(conn, request("p", ""))
			if got := next(t, r).code(t); got != 200 {
				t.Errorf("connection %d: code %d", i, got)
			}
		}
		_ = conn.Close()
	}
}

// TestExpect100ContinueIsAnsweredByCertificate looks at every answer: a client that is refused
// gets no 100 Continue before.
func TestExpect100ContinueIsAnsweredByCertificate(t *testing.T) {
	t.Parallel()
	g, a, pool := certified(t)
	certificate, none := offering(t, pool, a.Issue(t, "sender", time.Hour)), &tls.Config{RootCAs: pool}
	right := request("p", "Expect: 100-continue\r\n")
	wrong := strings.Replace(right, "Authorization: ", "Authorization: x", 1)
	for about, c := range map[string]struct {
		client *tls.Config
		text   string
		want   []int
	}{
		"right":                             {certificate, right, []int{100, 200}},
		"no certificate":                    {none, right, []int{401}},
		"a wrong secret":                    {certificate, wrong, []int{400}},
		"an unknown account":                {certificate, strings.Replace(right, "sandbox/", "sandbox/unknown/", 1), []int{401}},
		"an account that asks for none":     {none, strings.Replace(expectingOf("acme"), "acme-", "", 1), []int{400}},
		"right, an account that wants none": {none, expectingOf("acme"), []int{100, 200}},
	} {
		conn, err := g.handshake(c.client)
		testbench.Must(t, err)
		fmt.Fprint(conn, c.text)
		r := bufio.NewReader(conn)
		var got []int
		for len(got) == 0 || got[len(got)-1] == 100 {
			got = append(got, next(t, r).status)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: answers %v, want %v", about, got, c.want)
		}
		_ = conn.Close()
	}
}

// expectingOf is a right request for an account of sandbox that waits for 100 Continue.
func expectingOf(account string) string {
	return fmt.Sprintf("POST /v1/sandbox/%s/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nExpect: 100-continue\r\nContent-Length: 15\r\n\r\n{\"payment\":\"q\"}",
		account, caller{name: "sandbox"}.secret(account))
}

func TestWebhookFromAnotherNetworkIsRefused(t *testing.T) {
	t.Parallel()
	for network, code := range map[string]int{"127.0.0.0/8": 200, "203.0.113.0/24": 401100, "::/0": 401100} {
		g := start(t, func(o *webhook.Options) { o.Access = accessTo(webhook.Access{Networks: networks(network)}) })
		c := caller{name: "sandbox", header: "authorization"}
		if got := g.post("/v1/sandbox/notifications", c.headers(c.secret("default")), `{"payment":"p"}`).code(t); got != code {
			t.Errorf("%s: code %d, want %d", network, got, code)
		}
		wrong := g.post("/v1/sandbox/notifications", c.headers("wrong"), `{"payment":"p"}`)
		unknown := g.post("/v1/sandbox/unknown/notifications", c.headers("wrong"), `{"payment":"p"}`)
		if (wrong.body == unknown.body) != (code == 401100) {
			t.Errorf("%s: a wrong credential gets %q", network, wrong.body)
		}
		if got := g.post("/v1/sandbox/acme/notifications", c.headers(c.secret("acme")), `{"payment":"p"}`).code(t); got != 200 {
			t.Errorf("%s: another account: code %d", network, got)
		}
	}
}

// TestNoAnswerToAnotherNetworkTellsTheCredential sends what a client from elsewhere could try.
// Each gets the same answers, those before the body among them.
func TestNoAnswerToAnotherNetworkTellsTheCredential(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) { o.Access = accessTo(webhook.Access{Networks: networks("203.0.113.0/24")}) })
	right := request("p", "Expect: 100-continue\r\n")
	var want string
	for i, text := range []string{
		right,
		strings.Replace(right, "Authorization: ", "Authorization: x", 1),
		strings.Replace(right, "Authorization", "X-Other", 1),
		strings.Replace(right, "sandbox/", "sandbox/unknown/", 1),
		strings.Replace(right, "Expect", "Content-Encoding: br\r\nExpect", 1),
	} {
		got := ""
		for _, answer := range g.dialogue(text) {
			got += fmt.Sprintf("%d %s %v\n", answer.status, answer.body, answer.last)
		}
		if i == 0 {
			want = got
		}
		if got != want || !strings.HasSuffix(got, "true\n") || !strings.HasPrefix(got, "401 ") || !strings.Contains(got, "401100") {
			t.Errorf("request %d: the answers are\n%swant\n%s", i, got, want)
		}
	}
}

func TestNamesWithoutAuthoritiesAreRefused(t *testing.T) {
	t.Parallel()
	o := options(t, nil)
	o.Publisher, o.Access = newGate(), accessTo(webhook.Access{Names: []string{"sender"}})
	if _, err := webhook.New(o); err == nil {
		t.Error("accepted")
	}
}

// TestCertificateThatAReloadAsksForIsSent has a client with a certificate connect before any
// account asks for it. Neither its open connection nor its TLS session may keep it out.
func TestCertificateThatAReloadAsksForIsSent(t *testing.T) {
	t.Parallel()
	broker := testbench.Start(t, providers.All.Names()...)
	files, authority := testbench.NewCertificate(t), testbench.NewAuthority(t)
	pool := files.Renew(t, time.Unix(0, 0), time.Now().Add(time.Hour))
	o := options(t, providers.All)
	o.Publisher = publisher(t, broker.Connect(), 20*time.Second)
	o.ReadTimeout, o.TLS = time.Minute, ingress.TLS{Certificate: files.File, Key: files.Key}
	g := &gateway{t: t, broker: broker, ended: make(chan error, 1)}
	w := g.run(o)
	c := offering(t, pool, authority.Issue(t, "sender", time.Hour))
	c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	open, err := g.handshake(c)
	testbench.Must(t, err)
	defer open.Close()
	r := bufio.NewReader(open)
	fmt.Fprint(open, request("p", ""))
	if got := next(t, r).code(t); got != 200 {
		t.Fatalf("before: code %d", got)
	}
	replaced := o.Accounts
	replaced.Access = accessTo(webhook.Access{Authorities: authority.Pool})
	testbench.Must(t, w.Replace(replaced))
	fmt.Fprint(open, request("p", ""))
	if answer := next(t, r); answer.code(t) != 401100 || !answer.last {
		t.Errorf("on the open connection: code %d, its last answer %t", answer.code(t), answer.last)
	}
	if got := g.send(c, request("p", "")).code(t); got != 200 {
		t.Errorf("on a connection that would resume the session: code %d", got)
	}
}
