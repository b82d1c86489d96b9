// Package beeteller is Beeteller's Reverse Pix, a payout: paid means that the
// money left the merchant. Beeteller tells its customers to query the details
// after every webhook, but the endpoint is not public, so the look-up is a
// template that an account may configure. Without it the webhook is believed
// as far as the account's path key goes.
package beeteller

import (
	"cmp"
	"strings"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// reversePix is the one type that we know. A webhook without a type is one of
// these too: the field is in the documented samples, not in the field list.
const reversePix = "REVERSE_PIX"

// Provider is Beeteller's Reverse Pix.
var Provider = provider.Provider{
	Name:       "beeteller",
	Sample:     sample,
	Vocabulary: map[order.Kind]map[string]order.Status{order.Payout: words},
	Unsigned:   "Beeteller documents no credential, signature or source address for its webhooks",
	Read:       provider.One(read),
	Settings:   settings,
	Ask:        ask,
	Answer:     answer,
	Payload:    claim,
}

// notification is the webhook of a Reverse Pix. It has no amount and no date.
type notification struct {
	Order           wire.ID    `json:"order"` // Beeteller's own id: our payment.
	Status          string     `json:"status"`
	Reference       wire.ID    `json:"reference"` // The merchant's: our order.
	RejectionReason wire.Loose `json:"rejection_reason"`
	Error           wire.Loose `json:"error"` // What the documents' table calls the same.
}

func read(w provider.Webhook) (provider.Notice, error) {
	var head struct {
		Type  string      `json:"type"`
		Order wire.HintID `json:"order"`
	}
	if err := provider.DecodeWebhook(w, &head); err != nil {
		return provider.Notice{}, err
	}
	if head.Type != "" && !strings.EqualFold(head.Type, reversePix) {
		return provider.Unknown(order.Payout, head.Type, head.Order.Loose())
	}
	var n notification
	if err := provider.DecodeWebhook(w, &n); err != nil {
		return provider.Notice{}, err
	}
	payment, number := string(n.Order), string(n.Reference)
	if err := provider.CheckNamed("order", payment, "reference", number); err != nil {
		return provider.Notice{}, err
	}
	fields := provider.Present(map[string]string{"reason": string(cmp.Or(n.RejectionReason, n.Error))})
	if provider.Sayable(n.Status) {
		fields["status"] = n.Status // Also one that nobody knows: it must be named.
	}
	if number != "" {
		fields["reference"] = number // An id, and so the merchant's free choice.
	}
	return provider.Notice{Kind: order.Payout, Payment: payment, Order: number, Fields: fields}, nil
}

// claim takes the notification as the fact.
func claim(t provider.Target) (order.Fact, error) {
	return fact(t.Fields["status"], t.Fields["reference"], t.Fields["reason"])
}

func fact(status, reference, reason string) (order.Fact, error) {
	word, said, err := provider.Word(words, status)
	return order.Fact{
		Kind: order.Payout, Order: reference,
		Status: word, ProviderStatus: said, Reason: provider.Code(reason),
	}, err
}
