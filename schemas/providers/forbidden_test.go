package providers_test

import (
	"errors"
	"net/http"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// ownRefusals are a provider's own error bodies, beside which a 403 is about the
// credential.
var ownRefusals = map[string]string{
	"sandbox":         `{"error":"no"}`,
	"picpay":          `{"message":"O Token informado é inválido"}`,
	"picpay-checkout": `{"message":"Access denied","success":false,"businessCode":null,"errors":[]}`,
	"beeteller":       `{"error":"no"}`,
	"yapay":           `{"message_response":{"message":"error"},"error_response":{"general_errors":[{"code":"001001"}]}}`,
}

// A firewall refuses a request for what is in its URL.
func TestOnlyTheProvidersOwn403IsAboutTheCredential(t *testing.T) {
	t.Parallel()
	pages := []string{
		"", "<html><h1>403 Forbidden</h1></html>", "Request blocked.", "[]",
		`{"type":"https://waf.test/1020","title":"Access denied","status":403}`,
	}
	for _, p := range providers.All {
		says := func(body string) error {
			_, err := p.Answer(provider.Target{Kind: order.Payment, Payment: "p"}, provider.Account{},
				provider.Reply{Status: http.StatusForbidden, Body: []byte(body)})
			return err
		}
		if err := says(ownRefusals[p.Name]); !errors.Is(err, provider.ErrCredential) {
			t.Errorf("%s: its own 403 gives %v", p.Name, err)
		}
		for _, page := range pages {
			if documented := p.Name != "sandbox" && p.Name != "beeteller"; page[:min(1, len(page))] == "{" && !documented {
				continue // Any object may be its own.
			}
			if err := says(page); !errors.Is(err, provider.ErrForeign) || errors.Is(err, provider.ErrCredential) {
				t.Errorf("%s: 403 with %.30q gives %v", p.Name, page, err)
			}
		}
	}
}
