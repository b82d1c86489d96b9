// Package sandbox is a complete provider of our own: for demos and tests, and
// the folder to copy when a new provider is added. It speaks our words as
// they stand.
package sandbox

import (
	"fmt"
	"net/http"
	"net/url"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// Provider is the sandbox.
var Provider = provider.Provider{
	Name:       "sandbox",
	Sample:     sample,
	Vocabulary: map[order.Kind]map[string]order.Status{order.Payment: words},
	Verify:     provider.Static("authorization", "Bearer"),
	Read:       provider.One(read),
	Settings: []provider.Setting{
		{Name: "base_url", URL: true, Required: true, Help: "where the sandbox answers look-ups"},
		{Name: "token", Secret: true, Required: true, Help: "sent in the authorization header of look-ups"},
	},
	Ask:    ask,
	Answer: answer,
}

// notification is the webhook: a hint, so it has no status.
type notification struct {
	Payment wire.ID `json:"payment"`
	Order   wire.ID `json:"order"`
}

func read(w provider.Webhook) (provider.Notice, error) {
	var n notification
	if err := provider.DecodeWebhook(w, &n); err != nil {
		return provider.Notice{}, err
	}
	if err := provider.CheckIDs(string(n.Payment), string(n.Order)); err != nil {
		return provider.Notice{}, err
	}
	return provider.Notice{Kind: order.Payment, Payment: string(n.Payment), Order: string(n.Order)}, nil
}

func ask(t provider.Target, a provider.Account) (provider.Question, error) {
	return provider.Get(a, "/payments/"+url.PathEscape(t.Payment), "authorization", a.Settings["token"]), nil
}

// status is the look-up's answer; amounts are cents.
type status struct {
	Payment  wire.ID `json:"payment"`
	Order    wire.ID `json:"order"`
	Status   string  `json:"status"`
	Amount   int64   `json:"amount"` // Captured once something was, else authorized.
	Refunded int64   `json:"refunded"`

	Authorized int64 `json:"authorized"` // 0 where it is not told.
}

func answer(t provider.Target, _ provider.Account, r provider.Reply) (order.Fact, error) {
	if err := provider.NoAnswer(r, provider.IsObject(r), http.StatusNotFound, http.StatusGone); err != nil {
		return order.Fact{}, err
	}
	var s status
	if err := provider.DecodeReply(r, &s); err != nil {
		return order.Fact{}, err
	}
	if string(s.Payment) != t.Payment {
		return order.Fact{}, fmt.Errorf("%w: it is about another payment", provider.ErrUnreadable)
	}
	word, said, unknown := provider.Word(words, s.Status)
	amount, err := provider.AmountOf("BRL", word, provider.Sums{Authorized: s.Authorized, Captured: s.Amount, Refunded: s.Refunded})
	if err != nil {
		return order.Fact{}, err
	}
	return order.Fact{
		Kind: order.Payment, Order: string(s.Order), Status: word, ProviderStatus: said, Amount: amount,
	}, unknown
}
