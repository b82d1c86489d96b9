package api

import (
	"net/http"
	"net/url"
	"time"
)

// sandbox is the slug of our own provider. Its API is defined by its adapter.
const sandbox = "sandbox"

func sandboxDialect() dialect {
	return dialect{
		opening:  map[unit]string{payments: "pending"},
		word:     textWord,
		question: sandboxQuestion,
		missing:  func(unit) int { return http.StatusNotFound },
		answer:   sandboxAnswer,
		refusal:  plainRefusal,
		webhook:  sandboxWebhook,
	}
}

// sandboxQuestion: GET payments/{id} with the bare token.
func sandboxQuestion(r *http.Request, path []string, _ time.Time) (question, bool) {
	if len(path) != 2 || path[0] != "payments" {
		return question{}, false
	}
	return question{payments, path[1], holderOf(r.Header.Get("authorization"), "sandbox-lookup-token")}, true
}

func sandboxAnswer(k key, p payment) any {
	a := struct {
		Payment    string `json:"payment"`
		Order      string `json:"order"`
		Status     string `json:"status"`
		Amount     int64  `json:"amount"` // Cents.
		Refunded   int64  `json:"refunded"`
		Authorized int64  `json:"authorized,omitempty"`
	}{Payment: k.ID, Order: p.Order, Status: p.Status, Amount: p.Amount, Refunded: p.Refunded}
	if p.Captured != nil {
		a.Amount, a.Authorized = *p.Captured, p.Amount
	}
	return a
}

// plainRefusal is the error body of the providers whose documentation shows
// none.
func plainRefusal(status int) any { return map[string]string{"error": http.StatusText(status)} }

func sandboxWebhook(base *url.URL, k key, p payment, _ time.Time) (*http.Request, error) {
	r, err := postJSON(signed(base, k), struct {
		Payment string `json:"payment"`
		Order   string `json:"order"`
	}{k.ID, p.Order})
	if err != nil {
		return nil, err
	}
	r.Header.Set("authorization", secretOf(k.Account, "sandbox-local-token"))
	return r, nil
}
