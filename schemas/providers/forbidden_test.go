package providers_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// refusal is the provider's own error body, as its sample has it.
func refusal(t *testing.T, p provider.Provider) string {
	t.Helper()
	raw, err := json.Marshal(p.Sample.Refusal(http.StatusForbidden))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// A firewall refuses a request for what is in its URL.
func TestOnlyTheProvidersOwn403IsAboutTheCredential(t *testing.T) {
	t.Parallel()
	pages := []string{
		"", "<html><h1>403 Forbidden</h1></html>", "Request blocked.", "[]",
		`{"type":"https://waf.test/1020","title":"Access denied","status":403}`,
	}
	for _, p := range providers.All {
		if p.Answer == nil {
			continue
		}
		says := func(body string) error {
			_, err := p.Answer(provider.Target{Kind: order.Payment, Payment: "p"}, provider.Account{},
				provider.Reply{Status: http.StatusForbidden, Body: []byte(body)})
			return err
		}
		if err := says(refusal(t, p)); !errors.Is(err, provider.ErrCredential) {
			t.Errorf("%s: its own 403 gives %v", p.Name, err)
		}
		for _, page := range pages {
			if documented := refusal(t, p) != `{"error":"Forbidden"}`; page[:min(1, len(page))] == "{" && !documented {
				continue // Any object may be its own.
			}
			if err := says(page); !errors.Is(err, provider.ErrForeign) || errors.Is(err, provider.ErrCredential) {
				t.Errorf("%s: 403 with %.30q gives %v", p.Name, page, err)
			}
		}
	}
}
