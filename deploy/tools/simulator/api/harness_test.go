package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/simulator/api"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// noon is the simulators' clock in tests.
var noon = time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)

// bench is a simulator behind a real HTTP server.
type bench struct {
	t      *testing.T
	sim    *api.Simulator
	url    string
	client *http.Client
}

// simulate starts a simulator; it is stopped with the test.
func simulate(t *testing.T, o api.Options) *bench {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return noon }
	}
	sim, err := api.New(o)
	testbench.Must(t, err)
	server := httptest.NewServer(sim.Handler())
	client := &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return &bench{t: t, sim: sim, url: server.URL, client: client}
}

// answer is a reply that has been read.
type answer struct {
	status int
	header http.Header
	body   string
}

// try sends a request; headers are name, value, name, value.
func (b *bench) try(method, path, body string, headers ...string) (answer, error) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	testbench.Must(b.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, strings.TrimSuffix(string(text), "\n")}, err
}

// do is try for requests that must be answered.
func (b *bench) do(method, path, body string, headers ...string) answer {
	b.t.Helper()
	a, err := b.try(method, path, body, headers...)
	testbench.Must(b.t, err)
	return a
}

// steer sends a control call that must succeed.
func (b *bench) steer(path, body string) answer {
	b.t.Helper()
	a := b.do(http.MethodPut, "/_sim/"+path, body)
	if a.status != http.StatusOK {
		b.t.Fatalf("PUT %s %s: %d %s", path, body, a.status, a.body)
	}
	return a
}

// token logs in to Checkout as the account.
func (b *bench) token(account string) string {
	b.t.Helper()
	prefix := ""
	if account != "default" {
		prefix = account + "-"
	}
	a := b.do(http.MethodPost, "/picpay-checkout/oauth2/token",
		`{"grant_type":"client_credentials","client_id":"`+prefix+`checkout-client","client_secret":"`+prefix+`checkout-secret"}`,
		"content-type", "application/json")
	var g struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &g); err != nil || g.AccessToken == "" {
		b.t.Fatalf("token: %d %s", a.status, a.body)
	}
	return g.AccessToken
}

// look asks a provider for a payment as account default would; the id is
// already escaped.
func (b *bench) look(provider, id string) (answer, error) {
	b.t.Helper()
	switch provider {
	case "picpay":
		return b.try(http.MethodGet, "/picpay/payments/"+id+"/status", "", "x-picpay-token", "picpay-lookup-token")
	case "picpay-checkout":
		return b.try(http.MethodGet, "/picpay-checkout/charge/"+id, "", "authorization", "Bearer "+b.token("default"))
	case "yapay":
		return b.try(http.MethodGet, "/yapay/transactions/get_by_token_brief?token_account=yapay-lookup-token&token_transaction="+id, "")
	case "beeteller":
		return b.try(http.MethodGet, "/beeteller/orders/"+id, "", "authorization", "beeteller-lookup-token")
	case "sandbox":
		return b.try(http.MethodGet, "/sandbox/payments/"+id, "", "authorization", "sandbox-lookup-token")
	}
	b.t.Fatalf("unknown provider %q", provider)
	return answer{}, nil
}

// mustLook is look for look-ups that must be answered.
func (b *bench) mustLook(provider, id string) answer {
	b.t.Helper()
	a, err := b.look(provider, id)
	testbench.Must(b.t, err)
	return a
}

// slugs are the simulated providers.
var slugs = []string{"picpay", "picpay-checkout", "yapay", "beeteller", "sandbox"}

// words are two statuses of each provider, as control calls take them.
var words = map[string][2]string{
	"picpay":          {`"created"`, `"paid"`},
	"picpay-checkout": {`"PRE_AUTHORIZED"`, `"PAID"`},
	"yapay":           {`4`, `"6"`},
	"beeteller":       {`"PROCESSING"`, `"PAID"`},
	"sandbox":         {`"pending"`, `"paid"`},
}
