package beeteller

import (
	"net/http"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// sample has no look-up URL, as long as Beeteller's is not public. The simulator has one
// all the same: of the real one it is known that a token travels in the authorization
// header.
var sample = provider.Sample{
	About: "Beeteller's look-up is not public. Without lookup_url the webhook is believed, as\n" +
		"far as the path key authenticates it, and its events say confirmed: false.",
	Secret:   "beeteller-local-key",
	Settings: map[string]string{"lookup_value": "beeteller-lookup-token"},
	Currency: "BRL",
	Token:    provider.SampleToken{Setting: "lookup_value", Header: "authorization"},
	Refusal:  provider.PlainError,
	Webhook:  func(s provider.State) provider.Webhook { return provider.JSONWebhook(sampleAnswer(s)) },
	Units: []provider.SampleUnit{{
		Name: "payments", Kind: order.Payout, Opening: "INITIALIZED",
		LookUp: "orders/{id}", Missing: http.StatusNotFound, Answer: sampleAnswer,
		Stories: [][]provider.Step{
			{{Word: "INITIALIZED", Status: order.Pending}, {Word: "PROCESSING", Status: order.Processing}, {Word: "PAID", Status: order.Paid}},
			{{Word: "PROCESSING", Status: order.Processing}, {Word: "REJECTED", Status: order.Refused}},
		},
	}},
}

// sampleAnswer is the webhook's body, and the look-up's for want of a documented one.
// Neither has an amount.
func sampleAnswer(s provider.State) any {
	reason := ""
	if s.Status == "REJECTED" || s.Status == "REFUSED" {
		reason = "pix.timeout"
	}
	return struct {
		Order           string `json:"order"`
		Status          string `json:"status"`
		Reference       string `json:"reference"`
		Type            string `json:"type"`
		RejectionReason string `json:"rejection_reason,omitempty"`
	}{s.ID, s.Status, s.Order, "REVERSE_PIX", reason}
}
