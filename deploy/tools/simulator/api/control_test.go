package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arauto/deploy/tools/simulator/api"
	"arauto/schemas/subject"
)

func TestPutKeepsWhatItDoesNotSay(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	steps := []struct{ body, want string }{
		{`{}`, `{"order":"p 1","status":"pending","amount":10000,"refunded":0}`},
		{`{"status":"paid"}`, `{"order":"p 1","status":"paid","amount":10000,"refunded":0}`},
		{`{"refunded":50}`, `{"order":"p 1","status":"paid","amount":10000,"refunded":50}`},
		{`{"amount":200,"order":"o"}`, `{"order":"o","status":"paid","amount":200,"refunded":50}`},
		{`{"order":"","refunded":0}`, `{"order":"","status":"paid","amount":200,"refunded":0}`},
		{`{"order":null,"status":null,"amount":null}`, `{"order":"","status":"paid","amount":200,"refunded":0}`},
	}
	for _, step := range steps {
		if got := b.steer("sandbox/default/payments/p%201", step.body).body; got != step.want {
			t.Errorf("PUT %s: got %s, want %s", step.body, got, step.want)
		}
		if got := b.do(http.MethodGet, "/_sim/sandbox/default/payments/p%201", "").body; got != step.want {
			t.Errorf("GET after %s: got %s, want %s", step.body, got, step.want)
		}
	}
}

func TestControlDoesNotCareForTheContentType(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json"} {
		got := b.do(http.MethodPut, "/_sim/picpay/default/payments/1", `{"status":"paid"}`, "content-type", kind)
		if got.status != http.StatusOK {
			t.Errorf("%q: %d %s", kind, got.status, got.body)
		}
	}
}

func TestAuthenticationsAreAUnitOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.steer("picpay-checkout/default/payments/same", `{"status":"PAID"}`)
	b.steer("picpay-checkout/default/authentications/same", `{"order":"o","status":"REJECTED"}`)
	if got := b.mustLook("picpay-checkout", "3ds/same/status"); got.body != `{"hasChallenged":true,"status":"REJECTED"}` {
		t.Errorf("3DS: %s", got.body)
	}
	if got := b.mustLook("picpay-checkout", "same"); !strings.Contains(got.body, `"chargeStatus":"PAID"`) {
		t.Errorf("charge: %s", got.body)
	}
}

func TestBadControlInputIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	const payment, fault = "/_sim/sandbox/default/payments/p", "/_sim/sandbox/fault"
	cases := map[string]struct {
		method, path, body string
		status             int
	}{
		"empty body":              {"PUT", payment, ``, 400},
		"null":                    {"PUT", payment, `null`, 400},
		"array":                   {"PUT", payment, `[]`, 400},
		"cut off":                 {"PUT", payment, `{"status":"paid"`, 400},
		"two objects":             {"PUT", payment, `{}{}`, 400},
		"status of another type":  {"PUT", payment, `{"status":6}`, 400},
		"empty status":            {"PUT", payment, `{"status":""}`, 400},
		"amount with a fraction":  {"PUT", payment, `{"amount":1.5}`, 400},
		"negative amount":         {"PUT", payment, `{"amount":-1}`, 400},
		"negative refund":         {"PUT", payment, `{"refunded":-1}`, 400},
		"too large":               {"PUT", payment, `{"order":"` + strings.Repeat("x", 70<<10) + `"}`, 400},
		"yapay word":              {"PUT", "/_sim/yapay/default/payments/p", `{"status":"paid"}`, 400},
		"yapay fraction":          {"PUT", "/_sim/yapay/default/payments/p", `{"status":6.5}`, 400},
		"yapay negative":          {"PUT", "/_sim/yapay/default/payments/p", `{"status":-6}`, 400},
		"id is a step":            {"PUT", "/_sim/sandbox/default/payments/%2E%2E", `{}`, 400},
		"id is a dot":             {"PUT", "/_sim/sandbox/default/payments/%2E", `{}`, 400},
		"id is empty":             {"PUT", "/_sim/sandbox/default/payments/", `{}`, 400},
		"id is not UTF-8":         {"PUT", "/_sim/sandbox/default/payments/%FF", `{}`, 400},
		"id in two segments":      {"PUT", "/_sim/sandbox/default/payments/a/b", `{}`, 404},
		"unknown provider":        {"PUT", "/_sim/elsewhere/default/payments/p", `{}`, 404},
		"unknown account":         {"PUT", "/_sim/sandbox/nobody/payments/p", `{}`, 404},
		"unknown unit":            {"PUT", "/_sim/sandbox/default/authentications/p", `{}`, 404},
		"unknown payment":         {"GET", payment, ``, 404},
		"unknown call":            {"GET", "/_sim/sandbox/weather", ``, 404},
		"a provider alone":        {"GET", "/_sim/sandbox", ``, 404},
		"POST nothing":            {"POST", "/_sim/", `{}`, 405},
		"POST a payment":          {"POST", payment, `{}`, 405},
		"GET a fault":             {"GET", fault, ``, 405},
		"PUT look-ups":            {"PUT", "/_sim/sandbox/lookups", `{}`, 405},
		"no kind":                 {"PUT", fault, `{}`, 400},
		"unknown kind":            {"PUT", fault, `{"kind":"302"}`, 400},
		"negative count":          {"PUT", fault, `{"kind":"500","count":-1}`, 400},
		"negative retry_after":    {"PUT", fault, `{"kind":"429","retry_after":-1}`, 400},
		"absurd retry_after":      {"PUT", fault, `{"kind":"429","retry_after":1e30}`, 400},
		"fault's unknown account": {"PUT", fault, `{"kind":"500","account":"nobody"}`, 400},
		"fault's provider":        {"PUT", "/_sim/elsewhere/fault", `{"kind":"500"}`, 404},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := b.do(c.method, c.path, c.body)
			var e struct{ Error string }
			if err := json.Unmarshal([]byte(got.body), &e); err != nil || e.Error == "" || got.status != c.status {
				t.Errorf("got %d %s, want %d and an error", got.status, got.body, c.status)
			}
		})
	}
	if got := b.mustLook("sandbox", "p"); got.status != http.StatusNotFound {
		t.Errorf("a refused call made a payment: %s", got.body)
	}
}

func TestLookupsCountEveryQuestion(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	b.mustLook("picpay-checkout", "nobody")
	b.mustLook("picpay-checkout", "3ds/bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1/status")
	b.steer("picpay-checkout/fault", `{"kind":"500"}`)
	b.mustLook("picpay-checkout", "nobody")
	b.do(http.MethodGet, "/picpay-checkout/charge/nobody", "", "authorization", "Bearer "+b.token("acme"))
	b.do(http.MethodGet, "/picpay-checkout/charge/nobody", "")
	for query, want := range map[string]string{
		"":                 `{"bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1":1,"nobody":4}`,
		"?account=default": `{"bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1":1,"nobody":2}`,
		"?account=acme":    `{"nobody":1}`,
	} {
		if got := b.do(http.MethodGet, "/_sim/picpay-checkout/lookups"+query, "").body; got != want {
			t.Errorf("%q: got %s, want %s", query, got, want)
		}
	}
	if got := b.do(http.MethodGet, "/_sim/yapay/lookups", "").body; got != `{}` {
		t.Errorf("yapay: %s", got)
	}
}

func TestHealthAndMetricsAreServed(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := b.do(http.MethodGet, path, ""); got.status != http.StatusOK {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	b.mustLook("picpay", "102030")
	b.mustLook("picpay", "nobody")
	b.do(http.MethodGet, "/picpay/payments/102030/status", "")
	b.steer("picpay/fault", `{"kind":"garbage"}`)
	b.mustLook("picpay", "102030")
	got := b.do(http.MethodGet, "/metrics", "").body
	for _, result := range []string{"answered", "not_found", "unauthorized", "fault_garbage"} {
		if want := `arauto_simulator_lookups_total{provider="picpay",result="` + result + `"} 1`; !strings.Contains(got, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

// Any id that the gateway would take must come back under itself, however
// strange its characters.
func TestEveryIDIsOneSegmentDecodedOnce(t *testing.T) {
	t.Parallel()
	b := simulate(t, api.Options{})
	ids := []string{"a/b", "a%2Fb", "100%", "a b", "a+b", "café ☕", "../x", "...", "a?b#c", "a;b&c=d", "//", "\x00\n", "@", "%2E%2E"}
	check := func(fail func(string, ...any), id string) {
		for _, provider := range slugs {
			path := "/_sim/" + provider + "/default/payments/" + url.PathEscape(id)
			if got := b.do(http.MethodPut, path, `{"amount":4711}`); got.status != http.StatusOK {
				fail("%s %q: PUT %d %s", provider, id, got.status, got.body)
			}
			escaped := url.PathEscape(id)
			if provider == "yapay" {
				escaped = url.QueryEscape(id)
			}
			if got := b.mustLook(provider, escaped); got.status != http.StatusOK {
				fail("%s %q: GET %d %s", provider, id, got.status, got.body)
			}
			var asked map[string]int
			if err := json.Unmarshal([]byte(b.do(http.MethodGet, "/_sim/"+provider+"/lookups", "").body), &asked); err != nil || asked[id] == 0 {
				fail("%s %q: not among the look-ups", provider, id)
			}
		}
	}
	for _, id := range ids {
		check(t.Errorf, id)
	}
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringN(1, 40, 200).Filter(func(id string) bool { return subject.CheckID(id) == nil }).Draw(t, "id")
		check(t.Fatalf, id)
	})
}

func FuzzControlCallsNeverBreakTheServer(f *testing.F) {
	f.Add("/_sim/yapay/default/payments/p", `{"status":6,"amount":1,"refunded":1}`)
	f.Add("/_sim/sandbox/fault", `{"kind":"500","count":1,"retry_after":0.5}`)
	f.Add("/picpay-checkout/oauth2/token", `{"grant_type":"client_credentials"}`)
	f.Add("/%zz//..", `{`)
	sim, err := api.New(api.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, body string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		r := httptest.NewRequest(http.MethodPut, "/", strings.NewReader(body))
		r.URL = u
		w := httptest.NewRecorder()
		sim.Handler().ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != http.StatusBadGateway { // 502: notify without a gateway.
			t.Errorf("PUT %s %s: %d %s", path, body, w.Code, w.Body)
		}
	})
}
