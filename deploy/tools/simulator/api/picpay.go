package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// picpay is the slug of PicPay e-commerce.
const picpay = "picpay"

// picpayAuthorized are the words that come with an authorizationId: the
// payer has acted. The documentation says "only if paid", an older one "paid
// or under analysis".
var picpayAuthorized = []string{"analysis", "authorized", "paid", "captured", "completed", "refunded", "chargeback"}

// picpayPaid are the words of which money was taken.
var picpayPaid = []string{"paid", "captured", "completed", "refunded", "chargeback"}

func picpayDialect() dialect {
	return dialect{
		opening:  map[unit]string{payments: "created"},
		word:     textWord,
		question: picpayQuestion,
		missing:  func(unit) int { return http.StatusNotFound }, // Not documented; what REST says.
		answer:   picpayAnswer,
		refusal:  picpayRefusal,
		webhook:  picpayWebhook,
	}
}

// picpayQuestion: GET payments/{referenceId}/status with x-picpay-token.
func picpayQuestion(r *http.Request, path []string, _ time.Time) (question, bool) {
	if len(path) != 3 || path[0] != "payments" || path[2] != "status" {
		return question{}, false
	}
	return question{payments, path[1], holderOf(r.Header.Get("x-picpay-token"), "picpay-lookup-token")}, true
}

// picpayStatus is StatusResponse200 of PicPay's ecommerce.json, version 3.
type picpayStatus struct {
	AuthorizationID string        `json:"authorizationId,omitempty"`
	ReferenceID     string        `json:"referenceId"`
	Status          string        `json:"status"`
	Summary         picpaySummary `json:"summary"`
}

type picpaySummary struct {
	Authorized json.Number `json:"authorized"` // Decimal reais, as are the others.
	Paid       json.Number `json:"paid"`
	Refunded   json.Number `json:"refunded"`
}

func picpayAnswer(k key, p payment) any {
	paid := p.captured(slices.Contains(picpayPaid, p.Status))
	return picpayStatus{
		AuthorizationID: picpayAuthorization(p),
		ReferenceID:     k.ID,
		Status:          p.Status,
		Summary:         picpaySummary{reais(p.Amount), reais(paid), reais(p.Refunded)},
	}
}

func picpayAuthorization(p payment) string {
	if !slices.Contains(picpayAuthorized, p.Status) {
		return ""
	}
	return p.Reference
}

// picpayRefusal has the documented 401 and the 429 of the sibling 1-Click
// API; the other texts are ours.
func picpayRefusal(status int) any {
	message := map[int]string{
		http.StatusUnauthorized:     "O Token informado é inválido",
		http.StatusNotFound:         "Pedido não encontrado",
		http.StatusMethodNotAllowed: "Método não permitido",
		http.StatusTooManyRequests:  "API rate limit exceeded",
	}[status]
	if message == "" {
		message = "Erro interno"
	}
	return map[string]string{"message": message}
}

// picpayWebhook is the callback: two ids and deliberately no status.
func picpayWebhook(base *url.URL, k key, p payment, _ time.Time) (*http.Request, error) {
	r, err := postJSON(signed(base, k), struct {
		ReferenceID     string `json:"referenceId"`
		AuthorizationID string `json:"authorizationId,omitempty"`
	}{k.ID, picpayAuthorization(p)})
	if err != nil {
		return nil, err
	}
	r.Header.Set("x-seller-token", secretOf(k.Account, "4ef4edbd-5cda-42da-860b-0e8d7b90c784"))
	return r, nil
}
