// Package picpaysubscriptions is PicPay's subscriptions ("Assinaturas"), by its OpenAPI
// file (picpay/picpay-docs-digital-payments, 968ac71, static/swagger/subscriptions.json),
// which documents webhooks and no look-up. So the webhook is believed as far as its key
// goes, and events say confirmed: false.
//
// A payment of a subscription is a unit by its transaction. The subscription itself is a
// unit of its own, because it moves no money: while it is active its payer's consent is
// authorized, and each payment has a log of its own.
package picpaysubscriptions

import (
	"bytes"
	"fmt"
	"strings"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/wire"
)

// subscriptionPrefix makes the name of a subscription's unit from its id.
const subscriptionPrefix = "sub-"

// The types of webhooks. Their paths in the file are illustrations: all go to one address.
const (
	typeNew           = "new_subscription"
	typeCancelRequest = "subscription_cancel_request"
	typeCancelled     = "subscription_cancelled"
	typePayment       = "payment_processed"
)

// Provider is PicPay's subscriptions.
var Provider = provider.Provider{
	Name:       "picpay-subscriptions",
	Vocabulary: map[order.Kind]map[string]order.Status{order.Payment: words},
	Verify:     provider.Static("x-verification-key", ""),
	Query:      []provider.Parameter{{Name: "event_type"}, {Name: "date"}, {Name: "event_id"}, {Name: "event"}},
	Read:       provider.One(read),
	Payload:    payload,
	Sample:     sample,
}

// envelope is the webhook. date and event_id only inform: a webhook that comes twice makes
// no second event, whatever it says of itself.
type envelope struct {
	Type  string             `json:"event_type"`
	Date  wire.Loose         `json:"date"`
	ID    wire.Loose         `json:"event_id"`
	Event wire.Struct[event] `json:"event"`
}

type event struct {
	SubscriptionID wire.HintID `json:"subscription_id"`
	TransactionID  wire.HintID `json:"transaction_id"`
	Status         wire.Loose  `json:"status"`
	Value          wire.Loose  `json:"value"` // Decimal reais.
	PaymentDate    wire.Loose  `json:"payment_date"`
	CancelReason   wire.Loose  `json:"cancel_reason"`
}

func read(w provider.Webhook) (provider.Notice, error) {
	var e envelope
	if err := provider.DecodeWebhook(fromQuery(w), &e); err != nil {
		return provider.Notice{}, err
	}
	d := e.Event.Fields
	switch strings.ToLower(e.Type) {
	case typePayment:
		return notice(e, "transaction_id", "", d.TransactionID, typePayment, d.PaymentDate)
	case typeNew, typeCancelRequest, typeCancelled:
		return notice(e, "subscription_id", subscriptionPrefix, d.SubscriptionID, string(d.Status), e.Date)
	case "":
		return provider.Notice{}, provider.Refuse(provider.RuleMissing, "event_type", "it has no type")
	default:
		return provider.Unknown(order.Payment, e.Type, d.TransactionID.Loose(), d.SubscriptionID.Loose())
	}
}

// fromQuery is the webhook with the envelope in its body. The file declares the envelope's
// fields as query parameters, of a POST whose event is an object; a webhook without a body
// is taken by its word.
func fromQuery(w provider.Webhook) provider.Webhook {
	if event := w.Query.Get("event"); len(bytes.TrimSpace(w.Body)) == 0 && event != "" {
		w.Body = fmt.Appendf(nil, `{"event_type":%q,"date":%q,"event_id":%q,"event":%s}`,
			provider.Code(w.Query.Get("event_type")), provider.Code(w.Query.Get("date")), provider.Code(w.Query.Get("event_id")), event)
	}
	return w
}

// notice is about the unit whose id the named field has. Its order is the subscription,
// which is what a merchant knows of a payment.
func notice(e envelope, field, prefix string, id wire.HintID, word string, at wire.Loose) (provider.Notice, error) {
	unit, err := id.Strict()
	if err != nil {
		return provider.Notice{}, provider.Refuse(provider.RuleType, field, "%s: %w", field, err)
	}
	number, err := e.Event.Fields.SubscriptionID.Strict()
	if err != nil {
		return provider.Notice{}, provider.Refuse(provider.RuleType, "subscription_id", "subscription_id: %w", err)
	}
	if err := provider.CheckNamed(field, unit, "subscription_id", number); err != nil {
		return provider.Notice{}, err
	}
	if err := provider.CheckNamed(field, prefix+unit, "", ""); err != nil {
		return provider.Notice{}, err
	}
	fields := provider.Present(map[string]string{
		"date": string(at), "event_id": string(e.ID), "reason": string(e.Event.Fields.CancelReason),
	})
	if provider.Sayable(word) {
		fields["status"] = word // Also one that nobody knows: it must be named.
	}
	if value := provider.Code(string(e.Event.Fields.Value)); prefix == "" && value != "" {
		fields["value"] = value
	}
	return provider.Notice{Kind: order.Payment, Payment: prefix + unit, Order: number, Fields: fields}, nil
}

// payload takes the notification as the fact. Only a processed payment says of money: a
// refund by which a subscription ends names no transaction, so that it moves no payment.
func payload(t provider.Target) (order.Fact, error) {
	word, said, unknown := provider.Word(words, t.Fields["status"])
	f := order.Fact{
		Kind: order.Payment, Order: t.Order, Status: word, ProviderStatus: said, Reason: provider.Code(t.Fields["reason"]),
	}
	value, err := wire.Text(t.Fields["value"]).Cents()
	if err != nil {
		return order.Fact{}, fmt.Errorf("%w: value: %w", provider.ErrUnreadable, err)
	}
	if f.Amount, err = provider.AmountOf("BRL", word, provider.Sums{Captured: value}); err != nil {
		return order.Fact{}, err
	}
	if at, err := wire.Time(t.Fields["date"]); err == nil {
		f.OccurredAt = &at
	}
	return f, unknown
}
