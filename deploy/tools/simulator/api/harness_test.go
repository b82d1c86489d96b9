package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/tools/simulator/api"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
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

// look asks a provider for a payment as account default would; the id is already escaped.
func (b *bench) look(provider, id string) (answer, error) {
	b.t.Helper()
	p := providerOf(b.t, provider)
	path := "/" + provider + "/" + strings.Replace(p.Sample.Units[0].LookUp, "{id}", id, 1)
	secret := p.Sample.Settings[p.Sample.Token.Setting]
	switch token := p.Sample.Token; {
	case token.Login != "":
		return b.try(http.MethodGet, path, "", "authorization", "Bearer "+b.token("default"))
	case token.Query != "":
		return b.try(http.MethodGet, path+"&"+token.Query+"="+secret, "")
	default:
		return b.try(http.MethodGet, path, "", token.Header, strings.TrimSpace(token.Scheme+" "+secret))
	}
}

func providerOf(t *testing.T, name string) provider.Provider {
	t.Helper()
	p, ok := providers.All.Get(name)
	if !ok {
		t.Fatalf("unknown provider %q", name)
	}
	return p
}

// mustLook is look for look-ups that must be answered.
func (b *bench) mustLook(provider, id string) answer {
	b.t.Helper()
	a, err := b.look(provider, id)
	testbench.Must(b.t, err)
	return a
}

// slugs are the simulated providers that can be asked.
var slugs = func() (all []string) {
	for _, p := range providers.All {
		if p.Sample.Units[0].LookUp != "" {
			all = append(all, p.Name)
		}
	}
	return all
}()

// words are two statuses of each provider, as control calls take them: a number also as
// text.
var words = func() map[string][2]string {
	all := map[string][2]string{}
	for _, p := range providers.All {
		story := p.Sample.Units[0].Stories[0]
		two := [2]string{strconv.Quote(story[0].Word), strconv.Quote(story[len(story)-1].Word)}
		if p.Sample.Units[0].Numbers {
			two[0] = story[0].Word
		}
		all[p.Name] = two
	}
	return all
}()

// sameJSON reports whether two texts are the same document, or the same text.
func sameJSON(got, want string) bool {
	read := func(text string) (v any) {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if d.Decode(&v) != nil {
			return text
		}
		return v
	}
	return reflect.DeepEqual(read(got), read(want))
}
