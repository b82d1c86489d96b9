package webhook_test

import (
	"testing"

	"arauto/schemas/providers"
)

// caller sends the webhooks of one provider.
type caller struct {
	name   string
	header string                      // Of the credential, "" for a provider that does not sign.
	form   bool                        // The body is a form, else JSON.
	body   func(payment string) string // Takes the id as it stands in a JSON string or a form.
}

// callers returns a caller for each provider.
func callers(t testing.TB) []caller {
	t.Helper()
	known := map[string]caller{
		"sandbox": {header: "authorization", body: func(id string) string { return `{"payment":"` + id + `","order":"o-1"}` }},
		"picpay":  {header: "x-seller-token", body: func(id string) string { return `{"referenceId":"` + id + `"}` }},
		"picpay-checkout": {header: "authorization", body: func(id string) string {
			return `{"type":"PAYMENT","id":"1","data":{"status":"PAID","merchantChargeId":"` + id + `"}}`
		}},
		"beeteller": {body: func(id string) string {
			return `{"order":"` + id + `","status":"PAID","reference":"r-1","type":"REVERSE_PIX"}`
		}},
		"yapay": {form: true, body: func(id string) string {
			return "token_transaction=" + id + "&transaction%5Bstatus_id%5D=6&transaction%5Border_number%5D=n-1"
		}},
	}
	list := make([]caller, 0, len(providers.All))
	for _, p := range providers.All {
		c, ok := known[p.Name]
		if !ok {
			t.Fatalf("no sample for provider %s", p.Name)
		}
		c.name = p.Name
		list = append(list, c)
	}
	return list
}

func (c caller) secret(account string) string { return account + "-" + c.name + "-secret-one" }
func (c caller) second(account string) string { return account + "-" + c.name + "-secret-two" }

// path is the path of the webhook, with its key if the provider does not sign.
func (c caller) path(account, key string) string {
	if c.header != "" {
		return "/v1/" + c.name + "/" + account + "/notifications"
	}
	return "/v1/" + c.name + "/" + account + "/" + key + "/notifications"
}

// headers have the credential if the provider signs.
func (c caller) headers(secret string) map[string]string {
	h := map[string]string{"content-type": "application/json"}
	if c.form {
		h["content-type"] = "application/x-www-form-urlencoded"
	}
	if c.header != "" {
		h[c.header] = secret
	}
	return h
}
