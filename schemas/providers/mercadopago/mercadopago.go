// Package mercadopago is Mercado Pago's payments: Pix, boleto and card, with refunds and
// chargebacks. Its webhook is thin and signed over the query's data.id, not over the body,
// so that nothing of the body is believed: the look-up says what the payment is.
//
// Sources: mercadopago/openapi f224df3, schemas/payments.yaml and common.yaml; the pages
// "Webhooks", "Get payment status" and "After receiving the notification" of
// mercadopago.com developers; mercadopago/sdk-nodejs 4339894, src/utils/webhook/index.ts.
package mercadopago

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// Provider is Mercado Pago. Of the events that an application can subscribe to, only
// payments are read: a chargeback moves its payment to charged_back, which is notified as
// that payment's change.
var Provider = provider.Provider{
	Name:       "mercadopago",
	Vocabulary: map[order.Kind]map[string]order.Status{order.Payment: words},
	Verify:     verify,
	Query:      []provider.Parameter{{Name: dataID, Signed: true}, {Name: "type"}},
	Tolerance:  tolerance,
	Read:       provider.One(read),
	Settings: []provider.Setting{
		{
			Name: "base_url", URL: true, Required: true, Default: "https://api.mercadopago.com",
			Help: "Mercado Pago's API (its OpenAPI file)",
		},
		{Name: "access_token", Secret: true, Required: true, Help: "the application's access token, for look-ups"},
	},
	Ask:    ask,
	Answer: answer,
	Sample: sample,
}

// typePayment is the one type of notification that is about a payment.
const typePayment = "payment"

// read takes the payment from the signed query. The type is in the query and the body, and
// signed in neither: a forged one makes a look-up or a dead letter, and no event.
func read(w provider.Webhook) (provider.Notice, error) {
	var body struct {
		Type wire.Loose `json:"type"`
	}
	if err := provider.DecodeWebhook(w, &body); err != nil {
		return provider.Notice{}, err
	}
	payment, err := paymentOf(w)
	if err != nil {
		return provider.Notice{}, err
	}
	word := cmp.Or(string(body.Type), w.Query.Get("type"))
	if word != "" && !strings.EqualFold(word, typePayment) {
		return provider.Unknown(order.Payment, word, payment)
	}
	return provider.Notice{Kind: order.Payment, Payment: payment}, nil
}

// paymentOf is the query's data.id. One that comes twice names nothing.
func paymentOf(w provider.Webhook) (string, error) {
	if differ(w.Query[dataID]) {
		return "", provider.Refuse(provider.RuleKey, dataID, "%s comes twice", dataID)
	}
	id := w.Query.Get(dataID)
	return id, provider.CheckNamed(dataID, id, "", "")
}

func ask(t provider.Target, a provider.Account) (provider.Question, error) {
	return provider.Get(a, "/v1/payments/"+url.PathEscape(t.Payment), "authorization", "Bearer "+a.Settings["access_token"]), nil
}

// payment is the look-up's answer as far as it is read. Amounts are decimals of the
// currency.
type payment struct {
	ID                wire.ID    `json:"id"`
	Status            string     `json:"status"`
	StatusDetail      wire.Loose `json:"status_detail"`
	ExternalReference wire.ID    `json:"external_reference"` // The merchant's, null where there is none.
	CurrencyID        string     `json:"currency_id"`
	Amount            wire.Text  `json:"transaction_amount"`
	Refunded          wire.Text  `json:"transaction_amount_refunded"`
	DateApproved      wire.Loose `json:"date_approved"`

	Captured jsontext.Value `json:"captured"` // false while a card's payment may still be captured in part.
}

func answer(t provider.Target, _ provider.Account, r provider.Reply) (order.Fact, error) {
	refusal, own := ownError(r)
	if err := provider.NoAnswer(r, own); err != nil {
		return order.Fact{}, err
	}
	if r.Status == http.StatusNotFound && own && refusal == "not_found" {
		return order.Fact{}, fmt.Errorf("status %d: %w", r.Status, provider.ErrNotFound)
	}
	var p payment
	if err := provider.DecodeReply(r, &p); err != nil {
		return order.Fact{}, err
	}
	if string(p.ID) != t.Payment {
		return order.Fact{}, fmt.Errorf("%w: it is about another payment", provider.ErrUnreadable)
	}
	word, said, unknown := provider.Word(words, p.Status)
	word = refine(word, string(p.StatusDetail))
	amount, word, err := p.money(word)
	if err != nil && unknown == nil { // Sums that make no sense must not hide a word that we lack.
		return order.Fact{}, err
	}
	f := order.Fact{Kind: order.Payment, Order: cmp.Or(string(p.ExternalReference), t.Payment), Status: word, ProviderStatus: said, Amount: amount}
	switch word {
	case order.Refused, order.Canceled, order.Expired, order.ChargedBack, order.Disputed:
		f.Reason = provider.Code(string(p.StatusDetail))
	case order.Paid:
		if approved, err := wire.Time(string(p.DateApproved)); err == nil {
			f.OccurredAt = &approved
		}
	default: // Neither a reason nor a time is told of it.
	}
	return f, unknown
}

// money reads the sums, and what they say beside the word: a partial refund leaves it
// approved. A hold has no amount yet: it may be captured in part, and then the answer no
// longer names the sum that was authorized.
func (p payment) money(word order.Status) (*order.Amount, order.Status, error) {
	if p.Amount == "" || word == order.Authorized || string(p.Captured) == "false" {
		return nil, word, nil
	}
	if !slices.Contains(currencies, p.CurrencyID) {
		return nil, word, fmt.Errorf("%w: its currency is none of Mercado Pago's", provider.ErrUnreadable)
	}
	decimals := order.Digits(p.CurrencyID)
	value, err := wire.Minor(string(p.Amount), decimals)
	if err != nil {
		return nil, word, fmt.Errorf("%w: transaction_amount: %w", provider.ErrUnreadable, err)
	}
	refunded := int64(0)
	if p.Refunded != "" {
		if refunded, err = wire.Minor(string(p.Refunded), decimals); err != nil {
			return nil, word, fmt.Errorf("%w: transaction_amount_refunded: %w", provider.ErrUnreadable, err)
		}
	}
	word = provider.AfterRefunds(word, value, refunded)
	amount, err := provider.AmountOf(p.CurrencyID, word, provider.Sums{Captured: value, Refunded: refunded})
	return amount, word, err
}

// ownError is the code in a body of Mercado Pago's own errors, and whether it is one: it
// has a message and a code beside it (Error of common.yaml, and the answers that its users
// quote).
func ownError(r provider.Reply) (code string, own bool) {
	var refusal struct {
		Message wire.Loose `json:"message"`
		Error   wire.Loose `json:"error"`
	}
	own = wire.Object(r.Body, &refusal) == nil && refusal.Message != "" && refusal.Error != ""
	return string(refusal.Error), own
}
