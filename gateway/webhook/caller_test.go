package webhook_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// caller sends the webhooks of one provider, as its sample makes them.
type caller struct {
	name   string
	header string    // Of the credential, "" for a provider that does not sign.
	form   bool      // The body is a form, else JSON.
	query  bool      // The address names the payment, else the body.
	at     time.Time // When webhooks are sent, for a signature that has a time.
	p      provider.Provider
}

// callers returns a caller for each provider.
func callers(t testing.TB) []caller {
	t.Helper()
	list := make([]caller, 0, len(providers.All))
	for _, p := range providers.All {
		c := caller{name: p.Name, at: time.Now(), p: p}
		c.query = len(c.sample("p").Query) > 0
		bare := c.sample("p")
		c.form = !strings.HasSuffix(bare.Header.Values("content-type")[0], "json")
		if p.Verify != nil {
			_, signed, _ := c.about("default", "secret", "p")
			for name, value := range signed {
				if reflect.DeepEqual(bare.Header.Values(name), []string{value}) {
					continue
				}
				if c.header != "" {
					t.Fatalf("%s signs in %s and in %s", p.Name, c.header, name)
				}
				c.header = name
			}
		}
		list = append(list, c)
	}
	return list
}

func (c caller) secret(account string) string { return account + "-" + c.name + "-secret-one" }
func (c caller) second(account string) string { return account + "-" + c.name + "-secret-two" }

// path is the path of the webhook, with its key if the provider does not sign.
func (c caller) path(account, key string) string {
	if c.header != "" || c.p.Verify != nil {
		return "/v1/" + c.name + "/" + account + "/notifications"
	}
	return "/v1/" + c.name + "/" + account + "/" + key + "/notifications"
}

// headers have the credential of a provider whose header is the secret.
func (c caller) headers(secret string) map[string]string {
	h := map[string]string{"content-type": "application/json"}
	if c.header != "" {
		h[c.header] = secret
	}
	return h
}

// sample is the webhook about a payment without its credential. In a body the id stands
// as it is given: see write.
func (c caller) sample(id string) provider.Webhook {
	const marker = "a-marker-for-the-id"
	unit := c.p.Sample.Units[0]
	s := provider.State{
		Account: provider.DefaultAccount, Unit: unit.Name, ID: marker, Order: "o-1", Status: unit.Opening, Amount: 10000,
		Reference: strings.Repeat("0123456789abcdef", 2), Created: c.at, Changed: c.at, Since: c.at,
	}
	if c.query {
		s.ID = id
	}
	w := c.p.Sample.Webhook(s)
	w.Body = []byte(strings.ReplaceAll(string(w.Body), marker, id))
	return w
}

// body is the body of the webhook about a payment.
func (c caller) body(id string) string { return string(c.sample(id).Body) }

// about is the request about a payment to an account.
func (c caller) about(account, secret, id string) (target string, headers map[string]string, body string) {
	return c.signed(account, secret, c.sample(id))
}

// sending is the request about the payment "p" with another body.
func (c caller) sending(account, secret, body string) (target string, headers map[string]string, sent string) {
	w := c.sample("p")
	w.Body = []byte(body)
	return c.signed(account, secret, w)
}

func (c caller) signed(account, secret string, w provider.Webhook) (target string, headers map[string]string, body string) {
	w.Method, w.Path, w.At = http.MethodPost, c.path(account, secret), c.at
	if c.p.Verify != nil {
		c.p.Sample.Sign(&w, secret)
	}
	target = w.Path
	if len(w.Query) > 0 {
		target += "?" + w.Query.Encode()
	}
	headers = map[string]string{}
	for name, values := range w.Header.(provider.HeaderMap) {
		switch name {
		case "connection", "accept-encoding": // Of the client.
		default:
			headers[name] = values[0]
		}
	}
	return target, headers, string(w.Body)
}
