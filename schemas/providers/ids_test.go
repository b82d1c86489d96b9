package providers_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
)

// named is a webhook about an id, and the form that the provider documents for
// it, nil where the merchant chooses it or nothing is documented.
type named struct {
	provider string
	body     func(id string) string
	form     *regexp.Regexp
}

func ids() []named {
	checkout := regexp.MustCompile(`^[a-zA-Z0-9-]{1,36}$`)
	return []named{
		{"picpay", object("referenceId"), nil},
		{"picpay", object("paymentId"), nil},
		{"sandbox", object("payment"), nil},
		{"sandbox", func(id string) string { return `{"payment":"p","order":` + text(id) + `}` }, nil},
		{"beeteller", object("order"), nil},
		{"beeteller", func(id string) string { return `{"order":"p","reference":` + text(id) + `}` }, nil},
		{"yapay", func(id string) string { return "token_transaction=" + url.QueryEscape(id) }, regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)},
		{"yapay", func(id string) string { return "token_transaction=p&transaction[order_number]=" + url.QueryEscape(id) }, nil},
		{"picpay-checkout", func(id string) string { return `{"data":{"merchantChargeId":` + text(id) + `}}` }, checkout},
		{"picpay-checkout", func(id string) string {
			return `{"type":"THREE_DS_CHALLENGE","data":{"chargeId":"c","merchantChargeId":` + text(id) + `}}`
		}, checkout},
	}
}

func object(key string) func(string) string {
	return func(id string) string { return `{"` + key + `":` + text(id) + `}` }
}

func text(id string) string {
	raw, err := json.Marshal(id)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// What a provider documents is checked, and nothing else: a refused webhook is
// lost.
func TestOnlyDocumentedFormsOfIDsAreChecked(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(
			rapid.StringN(1, 300, 300), rapid.StringMatching(`[a-z0-9]{1,5}[ ._/@-][a-z0-9]{0,5}`),
			rapid.StringMatching(`[a-zA-Z0-9-]{30,40}`), rapid.StringMatching(`[a-zA-Z0-9_-]{60,70}`), rapid.StringMatching(`[a-z]{250,260}`),
			rapid.StringMatching(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), rapid.StringMatching(`[0-9a-f]{24,40}`),
		).Draw(t, "id")
		for _, n := range ids() {
			p, _ := providers.All.Get(n.provider)
			_, err := p.Read(provider.Webhook{Header: provider.HeaderMap{}, Body: []byte(n.body(id))})
			want := subject.CheckID(id) == nil && (n.form == nil || n.form.MatchString(id))
			if (err == nil) != want || err != nil && !errors.Is(err, provider.ErrInvalid) {
				t.Fatalf("%s: %s gives %v", n.provider, n.body(id), err)
			}
		}
	})
}

// The limit is on what is stored: the prefix of a 3DS authentication counts.
func TestIDsHaveASize(t *testing.T) {
	t.Parallel()
	checkout, _ := providers.All.Get("picpay-checkout")
	for size, fits := range map[int]bool{252: true, 253: false, 256: false, 32 << 10: false} {
		body := `{"type":"THREE_DS_CHALLENGE","data":{"chargeId":"` + strings.Repeat("c", size) + `"}}`
		n, err := checkout.Read(provider.Webhook{Header: provider.HeaderMap{}, Body: []byte(body)})
		if (err == nil) != fits || err != nil && !errors.Is(err, provider.ErrInvalid) || err == nil && len(n[0].Payment) > subject.MaxID {
			t.Errorf("a chargeId of %d bytes gives %v", size, err)
		}
	}
}
