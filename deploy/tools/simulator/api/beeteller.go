package api

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// beeteller is the slug of Beeteller's Reverse Pix.
const beeteller = "beeteller"

func beetellerDialect() dialect {
	return dialect{
		opening:  map[unit]string{payments: "INITIALIZED"},
		word:     textWord,
		question: beetellerQuestion,
		missing:  func(unit) int { return http.StatusNotFound },
		answer:   beetellerAnswer,
		refusal:  plainRefusal,
		webhook:  beetellerWebhook,
	}
}

// beetellerQuestion: GET orders/{order}. The real endpoint is not public; all
// that is known of it is that a token travels in the authorization header, in
// a scheme that is not stated, so both common forms are taken.
func beetellerQuestion(r *http.Request, path []string, _ time.Time) (question, bool) {
	if len(path) != 2 || path[0] != "orders" {
		return question{}, false
	}
	token := strings.TrimPrefix(r.Header.Get("authorization"), "Bearer ")
	return question{payments, path[1], holderOf(token, "beeteller-lookup-token")}, true
}

// beetellerOrder is the webhook's body, and the look-up's for want of a
// documented one. Neither has an amount.
type beetellerOrder struct {
	Order           string `json:"order"`
	Status          string `json:"status"`
	Reference       string `json:"reference"`
	Type            string `json:"type"`
	RejectionReason string `json:"rejection_reason,omitempty"`
}

func beetellerAnswer(k key, p payment) any {
	o := beetellerOrder{Order: k.ID, Status: p.Status, Reference: p.Order, Type: "REVERSE_PIX"}
	if p.Status == "REJECTED" || p.Status == "REFUSED" {
		o.RejectionReason = "pix.timeout"
	}
	return o
}

func beetellerWebhook(base *url.URL, k key, p payment, _ time.Time) (*http.Request, error) {
	return postJSON(unsigned(base, k), beetellerAnswer(k, p))
}
