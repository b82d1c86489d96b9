package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"arauto/deploy/tools/simulator/api"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// accountOf is account default as the workers would configure it for the
// simulator: every setting by its name, else its default.
func (b *bench) accountOf(p provider.Provider) provider.Account {
	a := provider.Account{Name: provider.DefaultAccount, Settings: map[string]string{}}
	for _, s := range p.Settings {
		a.Settings[s.Name] = s.Default
		if value, ok := p.Sample.Settings[s.Name]; ok {
			a.Settings[s.Name] = strings.ReplaceAll(value, "{url}", b.url+"/"+p.Name)
		}
	}
	if p.Name == "beeteller" { // Its sample has none, because the real one is not public.
		a.Settings["lookup_url"] = b.url + "/beeteller/orders/{order}"
	}
	return a
}

// asked are the providers that have a look-up.
func asked() []provider.Provider {
	return slices.DeleteFunc(slices.Clone(providers.All), func(p provider.Provider) bool { return p.Ask == nil })
}

// observe does what the look-up worker does, without its limits: log in, ask,
// and read the answer.
func (b *bench) observe(p provider.Provider, t provider.Target) (order.Fact, error) {
	b.t.Helper()
	a := b.accountOf(p)
	q, err := p.Ask(t, a)
	if err != nil {
		return order.Fact{}, err
	}
	if p.Login != nil {
		login, err := p.Login.Ask(a)
		if err != nil {
			return order.Fact{}, err
		}
		token, err := p.Login.Answer(b.perform(login))
		if err != nil {
			return order.Fact{}, err
		}
		q.Header["authorization"] = "Bearer " + token.Value
	}
	return p.Answer(t, a, b.perform(q))
}

func (b *bench) perform(q provider.Question) provider.Reply {
	b.t.Helper()
	var headers []string
	for name, value := range q.Header {
		headers = append(headers, name, value)
	}
	got := b.do(q.Method, strings.TrimPrefix(q.URL, b.url), string(q.Body), headers...)
	return provider.Reply{Status: got.status, Body: []byte(got.body)}
}

// target is payment id of a kind, and where control calls find it.
func target(p provider.Provider, kind order.Kind, id string) (provider.Target, string) {
	for _, u := range p.Sample.Units {
		if u.Kind == kind {
			return within(p, u, id)
		}
	}
	return provider.Target{}, ""
}

// within is target for one of the provider's units.
func within(p provider.Provider, u provider.SampleUnit, id string) (provider.Target, string) {
	return provider.Target{Kind: u.Kind, Payment: u.Prefix + id, Order: "order-1"}, p.Name + "/default/" + u.Name + "/" + id
}

// The two sides were written from the same documents: each word that an adapter
// knows must make its way through the simulator.
func TestAdaptersReadEveryWord(t *testing.T) {
	t.Parallel()
	for _, p := range asked() {
		for kind, vocabulary := range p.Vocabulary {
			t.Run(p.Name+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				b := simulate(t, api.Options{})
				for word, status := range vocabulary {
					who, path := target(p, kind, "payment-"+word)
					b.steer(path, fmt.Sprintf(`{"order":"order-1","status":%q,"amount":10000}`, word))
					fact, err := b.observe(p, who)
					if err != nil || fact.Kind != kind || fact.Status != status || fact.ProviderStatus != word {
						t.Errorf("%s: got %+v, %v, want %s", word, fact, err, status)
					}
					if fact.Amount != nil && fact.Amount.Value != 10000 {
						t.Errorf("%s: amount %+v", word, fact.Amount)
					}
				}
			})
		}
	}
}

// Refunds leave some providers' words as they are; the sums must tell.
func TestAdaptersReadRefunds(t *testing.T) {
	t.Parallel()
	cases := []struct {
		provider, word string
		refunded       int64
		want           order.Status
	}{
		{"picpay", "paid", 0, order.Paid},
		{"picpay", "paid", 599, order.PartiallyRefunded},
		{"picpay", "completed", 10000, order.Refunded},
		{"picpay", "refunded", 10000, order.Refunded},
		{"picpay-checkout", "PAID", 1, order.PartiallyRefunded},
		{"picpay-checkout", "PAID", 10000, order.Refunded},
		{"picpay-checkout", "PARTIAL", 500, order.PartiallyRefunded},
		{"picpay-checkout", "REFUNDED", 10000, order.Refunded},
		{"yapay", "6", 1, order.PartiallyRefunded},
		{"yapay", "6", 10000, order.Refunded},
		{"yapay", "7", 0, order.Canceled},
		{"yapay", "7", 10000, order.Refunded},
		{"sandbox", "partially_refunded", 42, order.PartiallyRefunded},
	}
	b := simulate(t, api.Options{})
	for i, c := range cases {
		p, ok := providers.All.Get(c.provider)
		if !ok {
			t.Fatalf("no provider %s", c.provider)
		}
		who, path := target(p, order.Payment, fmt.Sprintf("payment-%d", i))
		b.steer(path, fmt.Sprintf(`{"status":%q,"amount":10000,"refunded":%d}`, c.word, c.refunded))
		fact, err := b.observe(p, who)
		want := order.Amount{Currency: p.Sample.Currency, Value: 10000, Refunded: c.refunded}
		if strings.HasPrefix(c.provider, "picpay") {
			want.Authorized = 10000
		}
		if err != nil || fact.Status != c.want || fact.Amount == nil || *fact.Amount != want {
			t.Errorf("%s %s with %d back: got %+v, %v, want %s", c.provider, c.word, c.refunded, fact, err, c.want)
		}
	}
}

func TestAdaptersNameEveryFailure(t *testing.T) {
	t.Parallel()
	want := map[string]error{
		"500": provider.ErrUnavailable, "429": provider.ErrThrottled, "401": provider.ErrCredential,
		"404": provider.ErrNotFound, "garbage": provider.ErrUnreadable, "unknown": provider.ErrNotFound, "word": nil,
	}
	for _, p := range asked() {
		for kind := range p.Vocabulary {
			t.Run(p.Name+" "+string(kind), func(t *testing.T) {
				t.Parallel()
				b := simulate(t, api.Options{})
				for fault, class := range want {
					who, path := target(p, kind, "payment-"+fault)
					switch fault {
					case "unknown":
					case "word":
						b.steer(path, `{"status":"4711"}`)
					default:
						b.steer(p.Name+"/fault", `{"kind":"`+fault+`","count":1}`)
					}
					_, err := b.observe(p, who)
					var unknown *provider.UnknownWordError
					if class == nil && !errors.As(err, &unknown) || class != nil && !errors.Is(err, class) {
						t.Errorf("%s: got %v, want %v", fault, err, class)
					}
				}
			})
		}
	}
}

// The documents' sample notifications must lead to an answer from the start.
func TestExamplesAreKnownFromTheStart(t *testing.T) {
	t.Parallel()
	const charge = "61e35ec2-caa8-4598-bed5-d43e25e14151"
	b := simulate(t, api.Options{})
	cases := []struct {
		provider string
		target   provider.Target
		want     order.Fact
	}{
		{
			"picpay", provider.Target{Kind: order.Payment, Payment: "102030"},
			order.Fact{Order: "102030", ProviderReference: "555008cef7f321d00ef236333", Status: order.Paid},
		},
		{
			"picpay-checkout", provider.Target{Kind: order.Payment, Payment: charge},
			order.Fact{Order: charge, ProviderReference: "07bef486-8d86-41b8-804b-f68e343a1791", Status: order.Paid},
		},
		{
			"picpay-checkout", provider.Target{Kind: order.Authentication, Payment: "3ds-bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1", Order: charge},
			order.Fact{Order: charge, ProviderReference: "bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1", Status: order.Authenticated},
		},
	}
	for _, c := range cases {
		p, _ := providers.All.Get(c.provider)
		fact, err := b.observe(p, c.target)
		got := order.Fact{Order: fact.Order, ProviderReference: fact.ProviderReference, Status: fact.Status}
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v", c.provider, fact, err)
		}
		if c.target.Kind == order.Payment && (fact.Amount == nil || fact.Amount.Value != 10000) {
			t.Errorf("%s: amount %+v", c.provider, fact.Amount)
		}
	}
	got := b.do(http.MethodGet, "/_sim/picpay-checkout/default/authentications/bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1", "")
	if !strings.Contains(got.body, `"order":"`+charge+`"`) {
		t.Errorf("order of the authentication: %s", got.body)
	}
	if got := b.do(http.MethodGet, "/_sim/picpay/acme/payments/102030", ""); got.status != http.StatusNotFound {
		t.Errorf("acme knows the examples: %s", got.body)
	}
}

// fact is what Arauto comes to know of a payment that was just moved: the answer, or what
// the webhook says where the provider cannot be asked.
func (b *bench) fact(p provider.Provider, who provider.Target, hooks <-chan hook) (order.Fact, error) {
	h := <-hooks
	if p.Ask != nil {
		if f, err := b.observe(p, who); !errors.Is(err, provider.ErrNoLookUp) {
			return f, err
		}
	}
	_, query, _ := strings.Cut(h.uri, "?")
	notices, err := p.Notices(provider.Webhook{Query: p.Parameters(query), Header: lower(h.header), Body: []byte(h.body), At: noon})
	if err != nil {
		return order.Fact{}, err
	}
	n := notices[0]
	return p.Payload(provider.Target{Kind: n.Kind, Payment: n.Payment, Order: n.Order, Fields: n.Fields})
}

// TestStoriesBecomeWhatTheySay folds each state of each provider's stories, until it has
// been observed for long enough to be a correction.
func TestStoriesBecomeWhatTheySay(t *testing.T) {
	t.Parallel()
	to, hooks := gateway(t, http.StatusOK)
	b := simulate(t, api.Options{GatewayURL: to})
	for _, p := range providers.All {
		for _, u := range p.Sample.Units {
			for i, story := range u.Stories {
				who, path := within(p, u, fmt.Sprintf("story-%d", i))
				var standing order.Standing
				for minute, step := range story {
					body := map[string]any{"order": "order-1", "status": step.Word, "refunded": step.Refunded, "notify": true}
					if step.Captured != nil {
						body["captured"] = *step.Captured
					}
					text, err := json.Marshal(body)
					if err != nil {
						t.Fatal(err)
					}
					b.steer(path, string(text))
					f, err := b.fact(p, who, hooks)
					if err != nil {
						t.Fatalf("%s, story %d, %s: %v", p.Name, i, step.Word, err)
					}
					o := order.Observation{Kind: f.Kind, Payment: who.Payment, Status: f.Status, ProviderStatus: f.ProviderStatus, Amount: f.Amount, Confirmed: true}
					for again := range 3 {
						standing, _ = standing.Fold(o, noon.Add(time.Duration(minute*3+again)*time.Hour))
					}
					if standing.Status != step.Status || standing.Refunded != step.Refunded && f.Amount != nil {
						t.Errorf("%s, story %d: %s makes it %s with %d refunded, want %s with %d", p.Name, i, step.Word, standing.Status, standing.Refunded, step.Status, step.Refunded)
					}
				}
			}
		}
	}
}
