package picpaysubscriptions

import (
	"encoding/json"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// sample has the envelope and the events as the OpenAPI file describes version 2, in a JSON
// body. There is no look-up.
var sample = provider.Sample{
	About: "PicPay's subscriptions (\"Assinaturas\"). No look-up is documented, so the webhook is\n" +
		"believed as far as its key authenticates it, and its events say confirmed: false.",
	Secret:   "1fe523a0-20f1-4591-985e-ca3e8c2e6808",
	Currency: "BRL",
	Sign:     provider.SignHeader("x-verification-key"),
	Refusal:  provider.PlainError,
	Webhook:  sampleWebhook,
	Units: []provider.SampleUnit{
		{
			Name: "payments", Kind: order.Payment, Opening: "payment_processed",
			Stories: [][]provider.Step{{{Word: "payment_processed", Status: order.Paid}}},
		},
		{
			Name: "subscriptions", Kind: order.Payment, Opening: "under_analysis", Prefix: "sub-",
			Stories: [][]provider.Step{
				{{Word: "payment_delayed", Status: order.Pending}, {Word: "active", Status: order.Authorized}, {Word: "cancelled", Status: order.Canceled}},
				{{Word: "under_analysis", Status: order.InAnalysis}, {Word: "pending_cancellation", Status: order.Authorized}, {Word: "cancelled", Status: order.Canceled}},
			},
		},
	},
}

// object is a JSON object whose fields have no order.
type object = map[string]any

func sampleWebhook(s provider.State) provider.Webhook {
	const layout = "2006-01-02T15:04:05-07:00"
	kind, at := "payment_processed", provider.Brazilian(s.Changed).Format(layout)
	event := object{
		"subscription_id": s.Order, "subscriber_id": "9876542", "value": json.Number(provider.Decimal(s.Amount, 0)), "payment_number": 1,
		"payment_date": at, "next_payment_date": provider.Brazilian(s.Changed.AddDate(0, 1, 0)).Format(layout), "transaction_id": s.ID,
	}
	if s.Unit == "subscriptions" {
		kind = "new_subscription"
		event = object{
			"subscription_id": s.ID, "value": json.Number(provider.Decimal(s.Amount, 0)), "status": s.Status, "sign_up_date": at,
			"plan":       object{"id": "plan-1", "name": "Plano Exemplar", "value": 5.5, "periodicity": "monthly", "status": "open"},
			"subscriber": object{"id": "9876542", "username": "ze.silva", "name": "José Silva", "email": "ze.silva@picpay.com", "cpf": "123.456.789-01"},
		}
		switch s.Status {
		case "pending_cancellation":
			kind = "subscription_cancel_request"
		case "cancelled":
			kind = "subscription_cancelled"
			event["refund_policy"], event["refund_value"], event["cancel_reason"] = "no_refund", 0, "consumer_request"
		}
	}
	return provider.JSONWebhook(object{
		"event_type": kind, "date": at, "event_id": s.Reference + s.Reference[:8], "event": event,
	})
}
