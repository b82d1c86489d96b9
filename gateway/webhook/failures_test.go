package webhook_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"arauto/gateway/ingress"
	"arauto/gateway/webhook"
	"arauto/schemas/provider"
)

// stopped is a clock that stands, so that no limit is filled up again.
func stopped() time.Time { return time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC) }

// badRequest is a webhook to sandbox with a wrong credential.
const badRequest = "POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nAuthorization: wrong\r\nContent-Length: 2\r\n\r\n{}"

// TestTenThousandFailuresDoNotLimitTheRightCredential sends webhooks with a wrong credential
// from one address, over connections that carry webhooks with the right one too, as those of
// a load balancer do.
func TestTenThousandFailuresDoNotLimitTheRightCredential(t *testing.T) {
	t.Parallel()
	const connections, rounds, bad, burst = 8, 25, 50, 100
	g := start(t, func(o *webhook.Options) { o.Clock, o.Failures = stopped, webhook.FailureLimit{Rate: 1, Burst: burst} })
	var refused, limited, accepted atomic.Int64
	var all sync.WaitGroup
	for range connections {
		conn, r := g.dial()
		all.Go(func() {
			for range rounds {
				if _, err := io.WriteString(conn, request("p", "")+strings.Repeat(badRequest, bad)); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				for i := range 1 + bad {
					got := next(t, r)
					switch {
					case i == 0 && got.code(t) == 200:
						accepted.Add(1)
					case i > 0 && got.code(t) == 400105:
						refused.Add(1)
					case i > 0 && got.code(t) == 503100 && got.header.Get("Retry-After") == "5":
						limited.Add(1)
					default:
						t.Errorf("answer %d: %d %s", i, got.status, got.body)
					}
				}
			}
		})
	}
	all.Wait()
	if accepted.Load() != connections*rounds || refused.Load() != burst || limited.Load() != connections*rounds*bad-burst {
		t.Errorf("%d accepted, %d refused, %d limited", accepted.Load(), refused.Load(), limited.Load())
	}
	if got := g.metric("arauto_webhook_clients_limited_total", "sandbox"); got != float64(limited.Load()) {
		t.Errorf("%v are counted", got)
	}
	if lines := g.logs.FilterMessage("webhook.client_limited").All(); len(lines) != 1 || lines[0].ContextMap()["client"] != "127.0.0.1" || lines[0].ContextMap()["rule"] != "credential" {
		t.Errorf("the log has %v", lines)
	}
	if n := len(g.stored()); n != connections*rounds {
		t.Errorf("%d notifications are stored", n)
	}
}

// TestEachFailureOfAuthenticationCounts exhausts the limit by one failure, each time of
// another kind.
func TestEachFailureOfAuthenticationCounts(t *testing.T) {
	t.Parallel()
	to := func(path, credential string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + credential + "Content-Length: 0\r\n\r\n"
	}
	for about, c := range map[string]struct {
		text    string
		limited bool
	}{
		"wrong credential": {badRequest, true},
		"no credential":    {to("/v1/sandbox/notifications", ""), true},
		"unknown account":  {to("/v1/sandbox/unknown/notifications", ""), true},
		"wrong path key":   {to("/v1/yapay/default/wrong/notifications", ""), true},
		"another network":  {request("p", "X-Forwarded-For: 198.51.100.1\r\n"), true},
		"unknown path":     {to("/v1/unknown/notifications", ""), false},
		"broken body":      {strings.Replace(request("p", ""), `{"payment"`, `{"payment|`, 1), false},
	} {
		g := start(t, func(o *webhook.Options) {
			o.Clock, o.Failures = stopped, webhook.FailureLimit{Rate: 1, Burst: 1}
			if about == "another network" {
				o.Access = accessTo(webhook.Access{Networks: networks("203.0.113.0/24")})
			}
		})
		first, second := g.exchange(c.text).code(t), g.exchange(c.text).code(t)
		if first == 503100 || (second == 503100) != c.limited {
			t.Errorf("%s: codes %d and %d", about, first, second)
		}
	}
}

func TestFailuresAreCountedByAddress(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *webhook.Options) {
		o.Clock, o.Failures = stopped, webhook.FailureLimit{Rate: 1, Burst: 1}
		o.Proxies = ingress.Proxies{Networks: networks("127.0.0.1/32"), Protocol: true}
	})
	for _, c := range []struct {
		client string
		code   int
	}{
		{"203.0.113.7:1", 400105},
		{"203.0.113.7:2", 503100},
		{"203.0.113.8:1", 400105},
		{"[2001:db8::1]:1", 400105},
		{"[2001:db8::ffff:1]:1", 503100}, // Of the same /64.
		{"[2001:db8:0:1::1]:1", 400105},
	} {
		if got := g.exchange(proxyHeader(t, 2, c.client) + badRequest).code(t); got != c.code {
			t.Errorf("%s: code %d, want %d", c.client, got, c.code)
		}
	}
	for range 2 { // All clients whose address is not known have one limit.
		if got := g.exchange(proxyHeader(t, 2, "203.0.113.7:1") + request("p", "")).code(t); got != 200 {
			t.Errorf("right: code %d", got)
		}
	}
	first, second := g.exchange("PROXY UNKNOWN\r\n"+badRequest).code(t), g.exchange("PROXY UNKNOWN\r\n"+badRequest).code(t)
	if first != 400105 || second != 503100 {
		t.Errorf("without an address: codes %d and %d", first, second)
	}
}

func TestLimitIsFilledUpAgain(t *testing.T) {
	t.Parallel()
	var seconds atomic.Int64
	g := start(t, func(o *webhook.Options) {
		o.Clock = func() time.Time { return stopped().Add(time.Duration(seconds.Load()) * time.Second) }
		o.Failures = webhook.FailureLimit{Rate: 2}
	})
	conn, r := g.dial()
	count := func(want int) {
		t.Helper()
		refused := 0
		for range 210 {
			fmt.Fprint(conn, badRequest)
			if next(t, r).code(t) == 400105 {
				refused++
			}
		}
		if refused != want {
			t.Errorf("%d are refused, want %d", refused, want)
		}
	}
	fmt.Fprint(conn, request("p", ""))
	next(t, r)
	count(200)
	seconds.Add(1)
	count(2)
	seconds.Add(1000)
	count(200)
}

// TestSignedBodyIsReadAlsoOverTheLimit has a provider whose signature covers the body, so
// that only a body that was read can be right.
func TestSignedBodyIsReadAlsoOverTheLimit(t *testing.T) {
	t.Parallel()
	g := startWithProvider(t, signer(), func(o *webhook.Options) { o.Clock, o.Failures = stopped, webhook.FailureLimit{Rate: 1, Burst: 1} })
	forged := strings.Replace(signed("p", ""), "\r\n\r\np", "\r\n\r\nq", 1)
	conn, r := g.dial()
	for i, want := range []int{400105, 503100, 503100} {
		for text, code := range map[string]int{forged: want, signed("p", ""): 200} {
			if text == forged {
				if got := g.exchange(text).code(t); got != code {
					t.Errorf("%d: code %d, want %d", i, got, code)
				}
				continue
			}
			fmt.Fprint(conn, text)
			if got := next(t, r).code(t); got != code {
				t.Errorf("%d: code %d, want %d", i, got, code)
			}
		}
	}
}

// TestOldTimestampIsNoFailureOfTheCredential sends a right signature that is too old, over
// the limit of wrong ones.
func TestOldTimestampIsNoFailureOfTheCredential(t *testing.T) {
	t.Parallel()
	g := startWithProvider(t, stamped(), func(o *webhook.Options) { o.Clock, o.Failures = stopped, webhook.FailureLimit{Rate: 1, Burst: 1} })
	sent := func(secret string, at time.Time) int {
		w := provider.Webhook{Method: "POST", Path: "/v1/stamped/notifications", Query: map[string][]string{"id": {"p"}}, At: at}
		stamped().Sample.Sign(&w, secret)
		return g.post("/v1/stamped/notifications?id=p", map[string]string{"x-signature": w.Header.Values("x-signature")[0]}, "").code(t)
	}
	right := caller{name: "stamped"}.secret("default")
	for _, c := range []struct {
		secret string
		at     time.Time
		code   int
	}{
		{"wrong", stopped(), 400105}, {"wrong", stopped(), 503100},
		{right, stopped().Add(-2 * time.Hour), 400105}, {right, stopped(), 200}, {"wrong", stopped().Add(-2 * time.Hour), 503100},
	} {
		if got := sent(c.secret, c.at); got != c.code {
			t.Errorf("%s at %v: code %d, want %d", c.secret, c.at, got, c.code)
		}
	}
}

func TestLimitOfFailuresThatCannotBeHeldIsRefused(t *testing.T) {
	t.Parallel()
	for _, l := range []webhook.FailureLimit{{Rate: -1}, {Rate: 1, Burst: -1}, {Burst: 1}} {
		o := options(t, nil)
		o.Publisher, o.Failures = newGate(), l
		if _, err := webhook.New(o); err == nil {
			t.Errorf("%+v is accepted", l)
		}
	}
}
