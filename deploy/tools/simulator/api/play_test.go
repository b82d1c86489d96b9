package api_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"arauto/deploy/tools/simulator/api"
)

func TestCapturedSumIsToldAsTheProviderTellsIt(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	for _, c := range []struct{ provider, body, want string }{
		{"picpay", `{"status":"captured","captured":6000}`, `"summary":{"authorized":100,"paid":60,"refunded":0}`},
		{"picpay", `{"status":"refunded","captured":0}`, `"summary":{"authorized":100,"paid":0,"refunded":0}`},
		{"picpay-checkout", `{"status":"PARTIAL","captured":6000,"refunded":1000}`, `"amount":5000,"chargeStatus":"PARTIAL"`},
		{"sandbox", `{"status":"paid","captured":6000}`, `"amount":6000,"refunded":0,"authorized":10000`},
	} {
		b.steer(c.provider+"/default/payments/p", c.body)
		if got := b.mustLook(c.provider, "p"); !strings.Contains(got.body, c.want) {
			t.Errorf("%s after %s: got %s, want %s", c.provider, c.body, got.body, c.want)
		}
	}
}

func TestPaymentIsKnownOnlyFromItsTimeOn(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	b := simulate(t, api.Options{Now: func() time.Time { return noon.Add(time.Duration(ahead.Load())) }})
	for _, provider := range slugs {
		b.steer(provider+"/default/payments/p", `{"known_in":240}`)
	}
	before := map[string]int{}
	for _, provider := range slugs {
		before[provider] = b.mustLook(provider, "p").status
	}
	ahead.Store(int64(240 * time.Second))
	for _, provider := range slugs {
		if got := b.mustLook(provider, "p"); before[provider] == http.StatusOK || got.status != http.StatusOK {
			t.Errorf("%s: before %d, after %d", provider, before[provider], got.status)
		}
	}
}

func TestFirewallRefusesOnePaymentOnly(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("sandbox/default/payments/p", `{}`)
	b.steer("sandbox/default/payments/q", `{}`)
	b.steer("sandbox/fault", `{"kind":"403","payment":"p"}`)
	if got := b.mustLook("sandbox", "p"); got.status != http.StatusForbidden || !strings.HasPrefix(got.body, "<html>") {
		t.Errorf("p: %d %s", got.status, got.body)
	}
	if got := b.mustLook("sandbox", "q"); got.status != http.StatusOK {
		t.Errorf("q: %d %s", got.status, got.body)
	}
	b.steer("sandbox/fault", `{"kind":"none"}`)
	if got := b.mustLook("sandbox", "p"); got.status != http.StatusOK {
		t.Errorf("p, after the fault has ended: %d %s", got.status, got.body)
	}
}

// listen is a gateway that passes the body of each webhook on.
func listen(t *testing.T) (string, chan string) {
	t.Helper()
	bodies := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		bodies <- string(text)
	}))
	t.Cleanup(server.Close)
	return server.URL, bodies
}

func TestWebhooksRepeatComeLateOrSayTheEarlierState(t *testing.T) {
	t.Parallel()
	gateway, bodies := listen(t)
	b := simulate(t, api.Options{GatewayURL: gateway})
	b.steer("beeteller/default/payments/p", `{"status":"PROCESSING","notify":true,"times":3}`)
	b.steer("beeteller/default/payments/p", `{"status":"PAID","notify":true,"earlier":true}`)
	b.steer("beeteller/default/payments/p", `{"notify":true,"after":0.01,"times":2}`)
	for i, want := range []string{"PROCESSING", "PROCESSING", "PROCESSING", "PROCESSING", "PAID", "PAID"} {
		if got := <-bodies; !strings.Contains(got, fmt.Sprintf(`"status":%q`, want)) {
			t.Errorf("webhook %d says %s, want %s", i, got, want)
		}
	}
	b.steer("beeteller/default/payments/p", `{"status":"REFUSED"}`)
	if len(bodies) != 0 {
		t.Errorf("a change without notify was told: %s", <-bodies)
	}
	for _, body := range []string{`{"times":2}`, `{"notify":true,"times":101}`, `{"notify":true,"after":-1}`, `{"known_in":1e9}`, `{"captured":-1}`} {
		if got := b.do(http.MethodPut, "/_sim/beeteller/default/payments/p", body); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
}
