package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/simulator/api"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// hook is a webhook as the gateway gets it.
type hook struct {
	method, uri, body string
	header            http.Header
	close             bool
}

// gateway answers every webhook with one status and keeps what came.
func gateway(t *testing.T, status int) (string, <-chan hook) {
	t.Helper()
	hooks := make(chan hook, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		hooks <- hook{r.Method, r.RequestURI, string(body), r.Header.Clone(), r.Close}
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL, hooks
}

func TestWebhooksAreSentAsEachProviderDoes(t *testing.T) {
	t.Parallel()
	to, hooks := gateway(t, http.StatusOK)
	b := simulate(t, api.Options{GatewayURL: to})
	cases := []struct {
		name, steer, change, uri, body string
		header                         map[string]string
	}{
		{
			"picpay example", "picpay/default/payments/102030", `{"notify":true}`, "/v1/picpay/notifications",
			`{"referenceId":"102030","authorizationId":"555008cef7f321d00ef236333"}`,
			map[string]string{"x-seller-token": "4ef4edbd-5cda-42da-860b-0e8d7b90c784", "content-type": "application/json"},
		},
		{
			"picpay unpaid of acme", "picpay/acme/payments/7", `{"status":"expired","notify":true}`, "/v1/picpay/acme/notifications",
			`{"referenceId":"7"}`,
			map[string]string{"x-seller-token": "acme-4ef4edbd-5cda-42da-860b-0e8d7b90c784"},
		},
		{
			"checkout", "picpay-checkout/default/payments/61e35ec2-caa8-4598-bed5-d43e25e14151", `{"notify":true}`, "/v1/picpay-checkout/notifications",
			`{"type":"PAYMENT","eventDate":"2026-11-22T12:00:00-03:00","merchantDocument":"123456789012","id":"07bef486-8d86-41b8-804b-f68e343a1791","merchantCode":"1234","data":{` +
				`"status":"PAID","amount":10000,"originalAmount":10000,"refundedAmount":0,` +
				`"customer":{"document":"123456789","documentType":"CPF","email":"pessoa.silva@email.com","name":"Pessoa Da Silva"},` +
				`"merchantChargeId":"61e35ec2-caa8-4598-bed5-d43e25e14151","smartCheckoutId":null,"paymentSource":"GATEWAY","lateCapture":false,` +
				`"transactions":[{"paymentType":"WALLET","transactionId":"07bef486-8d86-41b8-804b-f68e343a1791","status":"CAPTURED","amount":10000,` +
				`"createdAt":"2026-11-22T12:00:00-03:00","updatedAt":"2026-11-22T12:00:00-03:00",` +
				`"wallet":{"expiresAt":"2026-11-22T12:05:00-03:00","qrCode":"xpto","qrCodeBase64":"xpto in base64"}}]}}`,
			map[string]string{
				"authorization": "a45c2dee-6435-1234-5678-b2a5f0ae7a8a", "event-type": "TransactionUpdateMessage", "user-agent": "axios/1.4.0",
				"accept": "application/json, text/plain, */*", "accept-encoding": "gzip, compress, deflate, br", "content-type": "application/json",
			},
		},
		{
			"3DS of acme", "picpay-checkout/acme/authentications/c1", `{"order":"o1","status":"Approved","notify":true}`, "/v1/picpay-checkout/acme/notifications",
			`{"type":"THREE_DS_CHALLENGE","merchantDocument":"123456789012","id":"344bafb6-ec6e-404f-ac46-661c281133f2","merchantCode":"1234","data":{` +
				`"status":"Approved","paresStatus":"Y","eciRaw":"05","merchantChargeId":"o1","chargeId":"c1"}}`,
			map[string]string{"authorization": "acme-a45c2dee-6435-1234-5678-b2a5f0ae7a8a", "event-type": "Challenge3dsUpdateMessage"},
		},
		{
			"beeteller", "beeteller/default/payments/b1", `{"order":"r1","status":"REJECTED","notify":true}`, "/v1/beeteller/default/beeteller-local-key/notifications",
			`{"order":"b1","status":"REJECTED","reference":"r1","type":"REVERSE_PIX","rejection_reason":"pix.timeout"}`,
			map[string]string{"content-type": "application/json"},
		},
		{
			"sandbox of acme", "sandbox/acme/payments/s1", `{"order":"o1","notify":true}`, "/v1/sandbox/acme/notifications",
			`{"payment":"s1","order":"o1"}`,
			map[string]string{"authorization": "acme-sandbox-local-token"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := b.steer(c.steer, c.change).body; !strings.Contains(got, `"notified":200`) {
				t.Errorf("PUT answered %s", got)
			}
			h := <-hooks
			if h.method != http.MethodPost || h.uri != c.uri || !sameJSON(h.body, c.body) {
				t.Errorf("got  %s %s %s\nwant POST %s %s", h.method, h.uri, h.body, c.uri, c.body)
			}
			for name, want := range c.header {
				if got := h.header.Values(name); !slices.Equal(got, []string{want}) {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if want := strings.HasPrefix(c.steer, "picpay-checkout"); h.close != want {
				t.Errorf("connection: close is %t", h.close)
			}
		})
	}
}

func TestYapayWebhookIsTheCapturedForm(t *testing.T) {
	t.Parallel()
	to, hooks := gateway(t, http.StatusOK)
	b := simulate(t, api.Options{GatewayURL: to})
	b.steer("yapay/acme/payments/tok%201", `{"status":6,"order":"c2357843-db24-4a06-b","amount":10401,"notify":true}`)
	h := <-hooks
	if h.uri != "/v1/yapay/acme/acme-yapay-local-key/notifications" || h.header.Get("content-type") != "application/x-www-form-urlencoded" {
		t.Errorf("got %s as %s", h.uri, h.header.Get("content-type"))
	}
	// Literal brackets, %20 for a space and UTF-8: what the capture shows.
	for _, want := range []string{
		"token_transaction=tok%201&transaction[order_number]=c2357843-db24-4a06-b&", "&transaction[status_id]=6&transaction[status_name]=Aprovada&",
		"transaction[products][][description]=Camiseta%20100%25%20algod%C3%A3o", "&transaction[payment][number_proccess]=&",
		"&transaction[date_transaction]=2026-11-22T12:00:00&",
	} {
		if !strings.Contains(strings.ReplaceAll(h.body, "%3A", ":"), want) {
			t.Errorf("form lacks %s: %s", want, h.body)
		}
	}
	form, err := url.ParseQuery(h.body)
	testbench.Must(t, err)
	for name, want := range map[string][]string{
		"transaction[products][][code]":        {"1", "2"},
		"transaction[price_original]":          {"104.01"},
		"transaction[seller_token]":            {"acme-yapay-lookup-token"},
		"transaction[transaction_token]":       {"tok 1"},
		"transaction[payment][date_approval]":  {"22/11/2026 - 12:00:00"},
		"transaction[payment][date_payment]":   {"22/11/2026"},
		"transaction[customer][address][city]": {"São Paulo"},
	} {
		if !slices.Equal(form[name], want) {
			t.Errorf("%s: got %q, want %q", name, form[name], want)
		}
	}
}

// The gateway's own adapters must take what the simulator sends.
func TestAdaptersAcceptEveryWebhook(t *testing.T) {
	t.Parallel()
	to, hooks := gateway(t, http.StatusOK)
	b := simulate(t, api.Options{GatewayURL: to})
	for _, p := range providers.All {
		id := "id-1" // Some providers' documents say which letters an id has.
		for _, account := range []string{"default", "acme"} {
			b.steer(p.Name+"/"+account+"/payments/"+url.PathEscape(id), `{"order":"order 1","notify":true}`)
			h := <-hooks
			path, query, _ := strings.Cut(h.uri, "?")
			w := provider.Webhook{Method: h.method, Path: path, Query: p.Parameters(query), Header: lower(h.header), Body: []byte(h.body), At: noon}
			if p.Verify != nil {
				if _, err := p.Verify(w, []string{provider.OfAccount(account, p.Sample.Secret)}); err != nil {
					t.Errorf("%s of %s: %v", p.Name, account, err)
				}
			} else if !strings.Contains(h.uri, "/"+provider.OfAccount(account, p.Sample.Secret)+"/") {
				t.Errorf("%s of %s: no path key in %s", p.Name, account, h.uri)
			}
			n, err := p.Notices(w)
			if err != nil || n[0].Payment != id || n[0].Kind != p.Sample.Units[0].Kind {
				t.Errorf("%s of %s: read %+v, %v", p.Name, account, n, err)
			}
		}
	}
}

func lower(h http.Header) provider.HeaderMap {
	m := provider.HeaderMap{}
	for name, values := range h {
		m[strings.ToLower(name)] = values
	}
	return m
}

func TestAFailedWebhookIs502AndTheStateStays(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	busy, _ := gateway(t, http.StatusServiceUnavailable)
	moved, _ := gateway(t, http.StatusFound)
	cases := map[string]struct{ gateway, want string }{
		"refused":     {busy, `"notified":503,"error":"send webhook: gateway answered 503"`},
		"redirected":  {moved, `"notified":302,"error":"send webhook: gateway answered 302"`},
		"unreachable": {closed.URL, `"error":"send webhook: dial tcp`},
		"no gateway":  {"", `"error":"send webhook: no gateway URL is configured"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := simulate(t, api.Options{GatewayURL: c.gateway})
			got := b.do(http.MethodPut, "/_sim/yapay/default/payments/p", `{"status":6,"notify":true}`)
			if got.status != http.StatusBadGateway || !strings.Contains(got.body, c.want) {
				t.Errorf("got %d %s", got.status, got.body)
			}
			if strings.Contains(got.body, "local-key") {
				t.Errorf("the path key is in the error: %s", got.body)
			}
			if got := b.mustLook("yapay", "p"); !says("yapay", 1, got) {
				t.Errorf("state after it: %s", got.body)
			}
		})
	}
}

func TestAWebhookUnderWayEndsWhenTheSimulatorStops(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	deaf := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}))
	t.Cleanup(deaf.Close)
	t.Cleanup(func() { close(release) })
	b := simulate(t, api.Options{GatewayURL: deaf.URL})
	answered := make(chan answer, 1)
	go func() {
		got, err := b.try(http.MethodPut, "/_sim/sandbox/default/payments/p", `{"notify":true}`)
		if err != nil {
			t.Error(err)
		}
		answered <- got
	}()
	<-arrived
	if err := b.sim.Close(); err != nil {
		t.Error(err)
	}
	if got := <-answered; got.status != http.StatusBadGateway || !strings.Contains(got.body, "context canceled") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestWebhooksAreCounted(t *testing.T) {
	t.Parallel()
	to, _ := gateway(t, http.StatusUnauthorized)
	b := simulate(t, api.Options{GatewayURL: to})
	b.do(http.MethodPut, "/_sim/picpay/default/payments/1", `{"notify":true}`)
	if want, got := `arauto_simulator_webhooks_total{code="401",provider="picpay"} 1`, b.do(http.MethodGet, "/metrics", "").body; !strings.Contains(got, want) {
		t.Errorf("metrics lack %s", want)
	}
}

func TestRepeatedWebhooksAreExactCopies(t *testing.T) {
	t.Parallel()
	to, hooks := gateway(t, http.StatusOK)
	var ticks atomic.Int64
	b := simulate(t, api.Options{GatewayURL: to, Now: func() time.Time { return noon.Add(time.Duration(ticks.Add(1)) * time.Second) }})
	for _, p := range providers.All {
		b.steer(p.Name+"/default/payments/p", `{"notify":true,"times":2}`)
		if first, second := <-hooks, <-hooks; !reflect.DeepEqual(first, second) {
			t.Errorf("%s sends %+v, then %+v", p.Name, first, second)
		}
	}
}
