package mercadopago

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

var sample = provider.Sample{
	About: "Mercado Pago: payments by Pix, boleto and card. Subscribe to the event \"payments\" only.\n" +
		"A proxy before the gateway must pass x-request-id on as it came, for it is signed.",
	Secret:     "mercadopago-local-secret",
	Settings:   map[string]string{"base_url": "{url}", "access_token": "mercadopago-lookup-token"},
	Currency:   "BRL",
	Redelivery: redelivery,
	Token:      provider.SampleToken{Setting: "access_token", Header: "authorization", Scheme: "Bearer"},
	Refusal:    sampleRefusal,
	Webhook:    sampleWebhook,
	Sign: func(w *provider.Webhook, secret string) {
		if headers, ok := w.Header.(provider.HeaderMap); ok {
			headers["x-signature"] = []string{asSent.Sign(*w, strconv.FormatInt(w.At.UnixMilli(), 10), secret)}
		}
	},
	Units: []provider.SampleUnit{{
		Name: "payments", Kind: order.Payment, Opening: "pending",
		LookUp: "v1/payments/{id}", Missing: http.StatusNotFound, Answer: sampleAnswer,
		Stories: [][]provider.Step{
			{ // Pix, given back in two parts.
				{Word: "pending", Status: order.Pending}, {Word: "approved", Status: order.Paid},
				{Word: "approved", Refunded: 4000, Status: order.PartiallyRefunded}, {Word: "refunded", Refunded: 10000, Status: order.Refunded},
			},
			{ // A card, charged back.
				{Word: "in_process", Status: order.InAnalysis}, {Word: "authorized", Status: order.Authorized}, {Word: "approved", Status: order.Paid},
				{Word: "in_mediation", Status: order.Disputed}, {Word: "charged_back", Status: order.ChargedBack},
			},
			{{Word: "pending", Status: order.Pending}, {Word: "cancelled", Status: order.Canceled}}, // A boleto that nobody pays.
			{{Word: "pending", Status: order.Pending}, {Word: "rejected", Status: order.Refused}},
		},
	}},
}

// object is a JSON object whose fields have no order.
type object = map[string]any

// sampleDetails are the usual details of a status.
var sampleDetails = map[string]string{
	"pending": "pending_waiting_transfer", "in_process": "pending_review_manual", "authorized": "pending_capture", "approved": "accredited",
	"rejected": "cc_rejected_other_reason", "cancelled": "by_collector", "canceled": "by_collector", "refunded": "refunded", "charged_back": "settled",
}

// sampleNumber is an id as a number, or as text where a test has chosen letters.
func sampleNumber(id string) any {
	if id == "" || strings.Trim(id, "0123456789") != "" || id[0] == '0' {
		return id
	}
	return json.Number(id)
}

func sampleTime(t time.Time) string {
	return provider.Brazilian(t).Format("2006-01-02T15:04:05.000-07:00")
}

func sampleAnswer(s provider.State) any {
	detail, approved := sampleDetails[s.Status], any(nil)
	if s.Status == "approved" || s.Refunded > 0 {
		approved = sampleTime(s.Since)
	}
	if s.Status == "approved" && s.Refunded > 0 {
		detail = "partially_refunded"
	}
	return object{
		"id": sampleNumber(s.ID), "status": s.Status, "status_detail": detail, "external_reference": s.Order,
		"date_created": sampleTime(s.Created), "date_last_updated": sampleTime(s.Changed), "date_approved": approved,
		"currency_id": "BRL", "transaction_amount": json.Number(provider.Decimal(s.CapturedSum(true), 0)),
		"transaction_amount_refunded": json.Number(provider.Decimal(s.Refunded, 0)),
		"operation_type":              "regular_payment", "payment_method_id": "pix", "payment_type_id": "bank_transfer", "captured": s.Status != "authorized",
		"payer": object{"email": "test_user@testuser.com", "identification": object{"type": "CPF", "number": "19119119100"}},
	}
}

// sampleRefusal has the answer to an unknown payment as Mercado Pago's users quote it.
func sampleRefusal(status int) any {
	code, message := "internal_error", http.StatusText(status)
	switch status {
	case http.StatusUnauthorized:
		code, message = "unauthorized", "invalid access token"
	case http.StatusForbidden:
		code = "forbidden"
	case http.StatusNotFound:
		code, message = "not_found", "Payment not found"
	}
	return object{"message": message, "error": code, "status": status, "cause": []object{}}
}

// sampleWebhook is a thin notification: its query has the id and the type, and its body the
// same once more.
func sampleWebhook(s provider.State) provider.Webhook {
	w := provider.JSONWebhook(object{
		"id": 112233445566, "live_mode": true, "type": "payment", "date_created": sampleTime(s.Changed), "user_id": 987654321,
		"api_version": "v1", "action": "payment.updated", "data": object{"id": s.ID},
	})
	w.Header = provider.HeaderMap{"content-type": {"application/json"}, "x-request-id": {"f7b2a1d4-0b1c-4ec2-aaaa-9e8b1d2f3c4d"}}
	w.Query = url.Values{"data.id": {s.ID}, "type": {"payment"}}
	return w
}
