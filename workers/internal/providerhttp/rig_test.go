package providerhttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/workers/internal/providerhttp"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// canary is every secret of these tests: it must not appear in any output.
const canary = "canary-5f1d"

// limit is the answer limit of these tests, in bytes.
const limit = 4096

// client is a client that closes with the test.
func client(t *testing.T, timeout time.Duration, now func() time.Time) *providerhttp.Client {
	t.Helper()
	c := providerhttp.New(providerhttp.Options{Timeout: timeout, AnswerLimit: limit, Connections: 4, Now: now})
	t.Cleanup(c.Close)
	return c
}

// serve runs a provider. It reads every request to its end, because a server notices
// a disconnected client only then.
func serve(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if _, err := io.Copy(io.Discard, q.Body); err != nil {
			return
		}
		handle(w, q)
	}))
	t.Cleanup(s.Close)
	return s
}

// says answers every request with one status and body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body) // Some clients disconnect before the end.
	}
}

func named(t *testing.T, name string) provider.Provider {
	t.Helper()
	p, ok := providers.All.Get(name)
	if !ok {
		t.Fatalf("no provider %s", name)
	}
	return p
}

// account has the canary for every secret.
func account(p provider.Provider, base string) provider.Account {
	a := provider.Account{Name: "default", Settings: map[string]string{}}
	for _, s := range p.Settings {
		switch {
		case s.URL:
			a.Settings[s.Name] = base
		case s.Secret:
			a.Settings[s.Name] = canary
		default:
			a.Settings[s.Name] = s.Default
		}
	}
	return a
}

var target = provider.Target{Kind: order.Payment, Payment: "p-1", Order: "o-1"}

// look makes a look-up at a sandbox with a base URL.
func lookUp(ctx context.Context, t *testing.T, c *providerhttp.Client, base string) (order.Fact, error) {
	t.Helper()
	p := named(t, "sandbox")
	return c.Ask(ctx, p, account(p, base), target)
}

const paid = `{"payment":"p-1","order":"o-1","status":"paid","amount":10000}`

// withLogIn is a small provider with a log-in. Its token endpoint answers
// {"token":...,"seconds":...}.
func withLogIn() provider.Provider {
	return provider.Provider{
		Name: "withLogIn",
		Login: &provider.Login{
			Ask: func(a provider.Account) (provider.Question, error) {
				return provider.Question{
					Method: http.MethodPost, URL: a.Settings["base_url"] + "/token",
					Body: []byte(`{"secret":"` + a.Settings["secret"] + `"}`),
				}, nil
			},
			Answer: func(r provider.Reply) (provider.Token, error) {
				var grant struct {
					Token   string
					Seconds int
				}
				err := provider.DecodeReply(r, &grant)
				return provider.Token{Value: grant.Token, Lifetime: time.Duration(grant.Seconds) * time.Second}, err
			},
		},
		Ask: func(_ provider.Target, a provider.Account) (provider.Question, error) {
			return provider.Question{Method: http.MethodGet, URL: a.Settings["base_url"] + "/payment"}, nil
		},
		Answer: func(_ provider.Target, _ provider.Account, r provider.Reply) (order.Fact, error) {
			var s struct{ Status order.Status }
			err := provider.DecodeReply(r, &s)
			return order.Fact{Status: s.Status}, err
		},
	}
}

func guardedAccount(base string) provider.Account {
	return provider.Account{Name: "default", Settings: map[string]string{"base_url": base, "secret": canary}}
}

func grant(token string, seconds int) string {
	body, _ := json.Marshal(map[string]any{"token": token, "seconds": seconds})
	return string(body)
}

func bearer(q *http.Request) string {
	return strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer ")
}
