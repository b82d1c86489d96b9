package picpay

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// captured is a part of 10000, and nothing none of it.
var captured, nothing = int64(6000), int64(0)

var sample = provider.Sample{
	About:    "PicPay e-commerce. Xekout speaks the same contract on the same route.",
	Secret:   "4ef4edbd-5cda-42da-860b-0e8d7b90c784",
	Settings: map[string]string{"base_url": "{url}", "token": "picpay-lookup-token"},
	Currency: "BRL",
	Token:    provider.SampleToken{Setting: "token", Header: "x-picpay-token"},
	Refusal:  sampleRefusal,
	Sign:     provider.SignHeader("x-seller-token"),
	// The callback has two ids and deliberately no status.
	Webhook: func(s provider.State) provider.Webhook {
		return provider.JSONWebhook(struct {
			ReferenceID     string `json:"referenceId"`
			AuthorizationID string `json:"authorizationId,omitempty"`
		}{s.ID, sampleAuthorization(s)})
	},
	Units: []provider.SampleUnit{{
		Name: "payments", Kind: order.Payment, Opening: "created",
		LookUp:  "payments/{id}/status",
		Missing: http.StatusNotFound, // Not documented; what REST says.
		Answer:  sampleAnswer,
		Known:   []provider.State{{ID: "102030", Order: "102030", Status: "paid", Amount: 10000, Reference: "555008cef7f321d00ef236333"}},
		Stories: [][]provider.Step{
			{
				{Word: "created", Status: order.Pending}, {Word: "paid", Status: order.Paid},
				{Word: "paid", Refunded: 4000, Status: order.PartiallyRefunded}, {Word: "refunded", Refunded: 10000, Status: order.Refunded},
			},
			{
				{Word: "created", Status: order.Pending}, {Word: "paid", Status: order.Paid},
				{Word: "paid", Refunded: 2500, Status: order.PartiallyRefunded}, {Word: "paid", Refunded: 4000, Status: order.PartiallyRefunded},
				{Word: "refunded", Refunded: 10000, Status: order.Refunded},
			},
			{
				{Word: "created", Status: order.Pending}, {Word: "analysis", Status: order.InAnalysis}, {Word: "authorized", Status: order.Authorized},
				{Word: "completed", Status: order.Settled}, {Word: "chargeback", Status: order.ChargedBack},
			},
			{{Word: "created", Status: order.Pending}, {Word: "expired", Status: order.Expired}},
			{{Word: "created", Status: order.Pending}, {Word: "expired", Status: order.Expired}, {Word: "paid", Status: order.Paid}}, // A correction.
			{ // Captured in part.
				{Word: "authorized", Status: order.Authorized}, {Word: "captured", Captured: &captured, Status: order.Paid},
				{Word: "captured", Refunded: 1000, Captured: &captured, Status: order.PartiallyRefunded},
			},
			{{Word: "authorized", Status: order.Authorized}, {Word: "refunded", Captured: &nothing, Status: order.Canceled}}, // A void.
		},
	}},
}

// sampleAuthorization is there once the payer has acted. The documentation says "only if
// paid", an older one "paid or under analysis".
func sampleAuthorization(s provider.State) string {
	if !slices.Contains([]string{"analysis", "authorized", "paid", "captured", "completed", "refunded", "chargeback"}, s.Status) {
		return ""
	}
	return s.Reference
}

// sampleAnswer is StatusResponse200 of PicPay's ecommerce.json, version 3, with decimal
// reais.
func sampleAnswer(s provider.State) any {
	reais := func(cents int64) json.Number { return json.Number(provider.Decimal(cents, 0)) }
	paid := s.CapturedSum(slices.Contains([]string{"paid", "captured", "completed", "refunded", "chargeback"}, s.Status))
	type sums struct {
		Authorized json.Number `json:"authorized"`
		Paid       json.Number `json:"paid"`
		Refunded   json.Number `json:"refunded"`
	}
	return struct {
		AuthorizationID string `json:"authorizationId,omitempty"`
		ReferenceID     string `json:"referenceId"`
		Status          string `json:"status"`
		Summary         sums   `json:"summary"`
	}{sampleAuthorization(s), s.ID, s.Status, sums{reais(s.Amount), reais(paid), reais(s.Refunded)}}
}

// sampleRefusal has the documented 401 and the 429 of the sibling 1-Click API; the other
// texts are ours.
func sampleRefusal(status int) any {
	return map[string]string{"message": cmp.Or(map[int]string{
		http.StatusUnauthorized:     "O Token informado é inválido",
		http.StatusNotFound:         "Pedido não encontrado",
		http.StatusMethodNotAllowed: "Método não permitido",
		http.StatusTooManyRequests:  "API rate limit exceeded",
	}[status], "Erro interno")}
}
