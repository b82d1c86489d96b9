package webhook_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/publish"
	"arauto/gateway/webhook"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// startWithProvider runs a gateway that has one more provider.
func startWithProvider(t *testing.T, p provider.Provider, change func(*webhook.Options)) *gateway {
	t.Helper()
	return start(t, func(o *webhook.Options) { useProvider(t, o, p); change(o) })
}

func useProvider(t *testing.T, o *webhook.Options, p provider.Provider) {
	set := provider.MustSet(append(append(provider.Set{}, providers.All...), p)...)
	o.Providers, o.Credentials = set, options(t, set).Credentials
}

// failing is a Publisher that fails after some messages.
type failing struct {
	publish.Publisher
	left atomic.Int64
}

func (p *failing) Store(ctx context.Context, m publish.Message) error {
	if p.left.Add(-1) < 0 {
		return errors.New("no more")
	}
	return p.Publisher.Store(ctx, m)
}

func TestWebhookIsAcceptedWhenAllItsNoticesAreStored(t *testing.T) {
	t.Parallel()
	limited := &failing{}
	g := start(t, nil)
	limited.Publisher = publisher(t, g.broker.NC, 20*time.Second)
	g = startOn(t, g.broker, func(o *webhook.Options) { useProvider(t, o, faulty()); o.Publisher = limited })
	c := caller{name: "faulty", header: "authorization"}
	for _, tc := range []struct {
		room   int64
		code   int
		stored string
	}{{3, 200, "a b a"}, {2, 503100, "a b a a b"}, {3, 200, "a b a a b a b a"}} {
		limited.left.Store(tc.room)
		if got := g.post(c.path("default", ""), c.headers(c.secret("default")), "a b a").code(t); got != tc.code {
			t.Errorf("with room for %d: code %d, want %d", tc.room, got, tc.code)
		}
		var payments []string
		ids, traces := map[string]bool{}, map[string]bool{}
		for _, m := range g.stored() {
			n := document(t, m)
			payments, ids[n.ID], traces[n.Trace] = append(payments, n.Payment), true, true
		}
		if got := strings.Join(payments, " "); got != tc.stored || len(ids) != len(payments) {
			t.Errorf("with room for %d: %q are stored under %d ids, want %q", tc.room, got, len(ids), tc.stored)
		}
	}
}

// stamped is a provider that signs a query parameter and a timestamp.
func stamped() provider.Provider {
	signature := provider.Signature{
		Header: "x-signature", Timestamp: "t", Sum: "v1", Tolerance: time.Hour,
		Message: func(w provider.Webhook, timestamp string) string {
			return w.Method + w.Path + w.Query.Get("id") + timestamp
		},
	}
	return provider.Provider{
		Name: "stamped", Vocabulary: map[order.Kind]map[string]order.Status{order.Payment: {}},
		Query: []provider.Parameter{{Name: "id", Signed: true}}, Tolerance: signature.Tolerance, Verify: signature.Verify,
		Read: provider.One(func(w provider.Webhook) (provider.Notice, error) {
			if len(w.Query) != 1 {
				return provider.Notice{}, errors.New("another parameter than those of the contract")
			}
			return provider.Notice{Kind: order.Payment, Payment: w.Query.Get("id")}, nil
		}),
		Payload: func(provider.Target) (order.Fact, error) { return order.Fact{}, nil },
		Sample: provider.Sample{Sign: func(w *provider.Webhook, secret string) {
			w.Header = provider.HeaderMap{"x-signature": {signature.Sign(*w, strconv.FormatInt(w.At.Unix(), 10), secret)}}
		}},
	}
}

func TestSignatureHasATimeAndCoversTheQuery(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)
	g := startWithProvider(t, stamped(), func(o *webhook.Options) { o.Clock = func() time.Time { return now } })
	sign := func(secret string, at time.Time, id string) map[string]string {
		w := provider.Webhook{Method: "POST", Path: "/v1/stamped/notifications", Query: url.Values{"id": {id}}, At: at}
		stamped().Sample.Sign(&w, secret)
		return map[string]string{"x-signature": w.Header.Values("x-signature")[0]}
	}
	secret := caller{name: "stamped"}.secret("default")
	for about, tc := range map[string]struct {
		header map[string]string
		query  string
		code   int
	}{
		"signed now":                  {sign(secret, now, "p"), "?id=p", 200},
		"beside another parameter":    {sign(secret, now, "p"), "?utm=1&id=p", 200},
		"signed with the second":      {sign(caller{name: "stamped"}.second("default"), now, "p"), "?id=p", 200},
		"almost too early":            {sign(secret, now.Add(time.Second-time.Hour), "p"), "?id=p", 200},
		"too early":                   {sign(secret, now.Add(-time.Hour), "p"), "?id=p", 400105},
		"too late":                    {sign(secret, now.Add(time.Hour), "p"), "?id=p", 400105},
		"1970":                        {sign(secret, time.Unix(0, 0), "p"), "?id=p", 400105},
		"2099":                        {sign(secret, time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), "p"), "?id=p", 400105},
		"another id":                  {sign(secret, now, "p"), "?id=q", 400105},
		"no id":                       {sign(secret, now, "p"), "", 400105},
		"a query that cannot be read": {sign(secret, now, "p"), "?id=p&x=%zz", 400105},
		"another secret":              {sign("another", now, "p"), "?id=p", 400105},
		"no signature":                {nil, "?id=p", 401100},
	} {
		for range 2 { // An exact copy gets the same answer.
			if got := g.post("/v1/stamped/notifications"+tc.query, tc.header, "").code(t); got != tc.code {
				t.Errorf("%s: code %d, want %d", about, got, tc.code)
			}
		}
	}
	if got := g.metric("arauto_webhooks_total", "timestamp"); got != 8 {
		t.Errorf("%v webhooks are refused for their timestamp, want 8", got)
	}
	if got := len(g.stored()); got != 8 {
		t.Errorf("%d notifications are stored, want 8", got)
	}
}

// TestAdapterSeesTheClientsCertificate authenticates by the certificate alone.
func TestAdapterSeesTheClientsCertificate(t *testing.T) {
	t.Parallel()
	p := signer()
	p.SignsBody, p.ClientCertificate = false, true
	p.Verify = func(w provider.Webhook, secrets []string) (int, error) {
		if len(w.Certificate) == 0 {
			return 0, provider.ErrNoCredential
		}
		return 0, nil
	}
	g, _, pool := startTLS(t, func(o *webhook.Options) { useProvider(t, o, p) })
	files := testbench.NewCertificate(t)
	files.Renew(t, time.Unix(0, 0), time.Now().Add(time.Hour))
	client, err := tls.LoadX509KeyPair(files.File, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	for want, config := range map[int]*tls.Config{
		200: {RootCAs: pool, Certificates: []tls.Certificate{client}}, 401100: {RootCAs: pool},
	} {
		for _, expect := range []string{"", "Expect: 100-continue\r\n"} {
			c, err := g.handshake(config)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "POST /v1/signer/notifications HTTP/1.1\r\nHost: x\r\n%sContent-Length: 1\r\n\r\np", expect)
			r := bufio.NewReader(c)
			answer := next(t, r)
			for answer.status == 100 {
				answer = next(t, r)
			}
			if got := answer.code(t); got != want {
				t.Errorf("%q: code %d, want %d", expect, got, want)
			}
			_ = c.Close()
		}
	}
}
