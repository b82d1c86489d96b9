package sandbox

import (
	"net/http"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

var sample = provider.Sample{
	About:    "Ours, for drills on a staging deployment. Delete it where nothing speaks it.",
	Secret:   "sandbox-local-token",
	Settings: map[string]string{"base_url": "{url}", "token": "sandbox-lookup-token"},
	Currency: "BRL",
	Token:    provider.SampleToken{Setting: "token", Header: "authorization"},
	Refusal:  provider.PlainError,
	Sign:     provider.SignHeader("authorization"),
	Webhook: func(s provider.State) provider.Webhook {
		return provider.JSONWebhook(struct {
			Payment string `json:"payment"`
			Order   string `json:"order"`
		}{s.ID, s.Order})
	},
	Units: []provider.SampleUnit{{
		Name: "payments", Kind: order.Payment, Opening: "pending",
		LookUp: "payments/{id}", Missing: http.StatusNotFound, Answer: sampleAnswer,
		Stories: [][]provider.Step{
			{
				{Word: "pending", Status: order.Pending}, {Word: "paid", Status: order.Paid},
				{Word: "partially_refunded", Refunded: 4000, Status: order.PartiallyRefunded},
				{Word: "refunded", Refunded: 10000, Status: order.Refunded},
			},
			{
				{Word: "pending", Status: order.Pending}, {Word: "authorized", Status: order.Authorized}, {Word: "paid", Status: order.Paid},
				{Word: "refunded", Refunded: 10000, Status: order.Refunded},
			},
		},
	}},
}

func sampleAnswer(s provider.State) any {
	a := struct {
		Payment    string `json:"payment"`
		Order      string `json:"order"`
		Status     string `json:"status"`
		Amount     int64  `json:"amount"` // Cents.
		Refunded   int64  `json:"refunded"`
		Authorized int64  `json:"authorized,omitempty"`
	}{Payment: s.ID, Order: s.Order, Status: s.Status, Amount: s.Amount, Refunded: s.Refunded}
	if s.Captured != nil {
		a.Amount, a.Authorized = *s.Captured, s.Amount
	}
	return a
}
