// Package beeteller is Beeteller's Reverse Pix, a payout: paid means that the
// money left the merchant. Beeteller tells its customers to query the details
// after every webhook, but the endpoint is not public, so the look-up is a
// template that an account may configure. Without it the webhook is believed
// as far as the account's path key goes.
package beeteller

import (
	"unicode/utf8"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// reversePix is the one type that we know. A webhook without a type is one of
// these too: the field is in the documented samples, not in the field list.
const reversePix = "REVERSE_PIX"

// maxReason is how long a reason may be, in bytes. The documented ones are
// short codes; the set is open.
const maxReason = 200

// Provider is Beeteller's Reverse Pix.
var Provider = provider.Provider{
	Name:       "beeteller",
	Vocabulary: map[order.Kind]map[string]order.Status{order.Payout: words},
	Unsigned:   "Beeteller documents no credential, signature or source address for its webhooks",
	Read:       read,
	Settings:   settings,
	Ask:        ask,
	Answer:     answer,
	Claim:      claim,
}

// notification is the webhook of a Reverse Pix. It has no amount and no date.
type notification struct {
	Order           string `json:"order"` // Beeteller's own id: our payment.
	Status          string `json:"status"`
	Reference       string `json:"reference"` // The merchant's: our order.
	RejectionReason string `json:"rejection_reason"`
	Error           string `json:"error"` // What the documents' table calls the same.
}

func read(w provider.Webhook) (provider.Notice, error) {
	var head struct {
		Type  string     `json:"type"`
		Order wire.Loose `json:"order"`
	}
	if err := provider.DecodeWebhook(w, &head); err != nil {
		return provider.Notice{}, err
	}
	if head.Type != "" && head.Type != reversePix {
		return provider.Unknown(order.Payout, head.Type, string(head.Order))
	}
	var n notification
	if err := provider.DecodeWebhook(w, &n); err != nil {
		return provider.Notice{}, err
	}
	if err := provider.CheckIDs(n.Order, n.Reference); err != nil {
		return provider.Notice{}, err
	}
	return provider.Notice{
		Kind: order.Payout, Payment: n.Order, Order: n.Reference,
		Fields: provider.Present(map[string]string{
			"status": n.Status, "reference": n.Reference, "reason": n.reason(),
		}),
	}, nil
}

func (n notification) reason() string {
	if n.RejectionReason != "" {
		return short(n.RejectionReason)
	}
	return short(n.Error)
}

// claim takes the notification as the fact.
func claim(t provider.Target) (order.Fact, error) {
	return fact(t.Fields["status"], t.Fields["reference"], t.Fields["reason"])
}

func fact(status, reference, reason string) (order.Fact, error) {
	word, err := provider.Word(words, status)
	return order.Fact{
		Kind: order.Payout, Order: reference,
		Status: word, ProviderStatus: status, Reason: short(reason),
	}, err
}

// short cuts a reason that is too long to be a code.
func short(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	reason = reason[:maxReason]
	for !utf8.ValidString(reason) {
		reason = reason[:len(reason)-1]
	}
	return reason
}
