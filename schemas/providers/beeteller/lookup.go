package beeteller

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// placeholder stands for the payment in lookup_url.
const placeholder = "{order}"

// settings describe the look-up. Only the authorization header is documented;
// everything else waits for what Beeteller hands to its customers.
var settings = []provider.Setting{
	{Name: "lookup_url", URL: true, Help: "where to query a payout, with " + placeholder + " for its id; empty: believe the webhook"},
	{Name: "lookup_header", Default: "authorization", Help: "header that carries lookup_value (Beeteller's introduction)"},
	{Name: "lookup_value", Secret: true, Help: "value of that header, with its scheme if there is one"},
	{Name: "status_field", Default: "status", Help: "dotted path of the status in the answer"},
	{Name: "order_field", Default: "order", Help: "dotted path of Beeteller's id in the answer; where it is there, it must be the payout's"},
	{Name: "reference_field", Default: "reference", Help: "dotted path of the merchant's reference in the answer"},
	{Name: "reason_field", Default: "rejection_reason", Help: "dotted path of the rejection reason in the answer"},
}

func ask(t provider.Target, a provider.Account) (provider.Question, error) {
	template := a.Settings["lookup_url"]
	if template == "" {
		return provider.Question{}, provider.ErrNoLookUp
	}
	if !strings.Contains(template, placeholder) {
		return provider.Question{}, fmt.Errorf("%w: lookup_url lacks %s", provider.ErrRefused, placeholder)
	}
	// The placeholder may stand in the path or in the query. This escaping is
	// right in both.
	id := strings.ReplaceAll(url.QueryEscape(t.Payment), "+", "%20")
	q := provider.Question{
		Method: http.MethodGet,
		URL:    strings.ReplaceAll(template, placeholder, id),
		Header: map[string]string{"accept": "application/json"},
	}
	if name, value := a.Settings["lookup_header"], a.Settings["lookup_value"]; name != "" && value != "" {
		q.Header[name] = value
	}
	return q, nil
}

func answer(t provider.Target, a provider.Account, r provider.Reply) (order.Fact, error) {
	if err := provider.NoAnswer(r, provider.IsObject(r), http.StatusNotFound, http.StatusGone); err != nil {
		return order.Fact{}, err
	}
	var body map[string]jsontext.Value
	if err := provider.DecodeReply(r, &body); err != nil {
		return order.Fact{}, err
	}
	texts := map[string]string{}
	for _, name := range []string{"order_field", "status_field", "reference_field", "reason_field"} {
		read := asText
		if name == "order_field" || name == "reference_field" {
			read = asID
		}
		text, err := at(body, a.Settings[name], read)
		if err != nil {
			return order.Fact{}, fmt.Errorf("%w: %s: %w", provider.ErrUnreadable, name, err)
		}
		texts[name] = text
	}
	if id := texts["order_field"]; id != "" && id != t.Payment {
		return order.Fact{}, fmt.Errorf("%w: it is about another payout", provider.ErrUnreadable)
	}
	return fact(texts["status_field"], cmp.Or(texts["reference_field"], t.Order), texts["reason_field"])
}

func asText(raw []byte) (string, error) {
	var text wire.Text
	err := text.UnmarshalJSON(raw)
	return string(text), err
}

func asID(raw []byte) (string, error) {
	var id wire.ID
	err := id.UnmarshalJSON(raw)
	return string(id), err
}

// at reads what is at a dotted path; it is "" when nothing is there.
func at(body map[string]jsontext.Value, path string, read func([]byte) (string, error)) (string, error) {
	first, rest, deeper := strings.Cut(path, ".")
	raw, ok := body[first]
	if !ok {
		return "", nil
	}
	if !deeper {
		return read(raw)
	}
	next, err := wire.Map(raw)
	if err != nil {
		return "", fmt.Errorf("%s is not an object", first)
	}
	return at(next, rest, read)
}
