package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"arauto/deploy/tools/simulator/api"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// accountOf is account default as the workers would configure it for the
// simulator: every setting by its name, else its default.
func (b *bench) accountOf(p provider.Provider) provider.Account {
	set := map[string]string{
		"base_url":      b.url + "/" + p.Name,
		"token":         p.Name + "-lookup-token",
		"token_url":     b.url + "/" + p.Name + "/oauth2/token",
		"client_id":     "checkout-client",
		"client_secret": "checkout-secret",
		"token_account": "yapay-lookup-token",
		"lookup_url":    b.url + "/beeteller/orders/{order}",
		"lookup_value":  "beeteller-lookup-token",
	}
	a := provider.Account{Name: "default", Settings: map[string]string{}}
	for _, s := range p.Settings {
		a.Settings[s.Name] = s.Default
		if value, ok := set[s.Name]; ok {
			a.Settings[s.Name] = value
		}
	}
	return a
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
	if kind == order.Authentication {
		return provider.Target{Kind: kind, Payment: "3ds-" + id, Order: "order-1"}, p.Name + "/default/authentications/" + id
	}
	return provider.Target{Kind: kind, Payment: id, Order: "order-1"}, p.Name + "/default/payments/" + id
}

// The two sides were written from the same documents: each word that an adapter
// knows must make its way through the simulator.
func TestAdaptersReadEveryWord(t *testing.T) {
	t.Parallel()
	for _, p := range providers.All {
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
		want := order.Amount{Currency: "BRL", Value: 10000, Refunded: c.refunded}
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
	for _, p := range providers.All {
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
