package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// unit is what an id names at a provider. It is also the word for it in the
// control calls' paths.
type unit string

const (
	payments        unit = "payments"
	authentications unit = "authentications" // Checkout's 3DS results, by charge id.
)

// key names one payment, or one authentication, of one account.
type key struct {
	Provider string `json:"provider"`
	Account  string `json:"account"`
	Unit     unit   `json:"unit"`
	ID       string `json:"payment"`
}

// payment is where a payment stands, in the provider's own word. Amounts are
// cents.
type payment struct {
	Order     string    `json:"order"`
	Status    string    `json:"status"`
	Amount    int64     `json:"amount"`
	Refunded  int64     `json:"refunded"`
	Captured  *int64    `json:"captured,omitempty"` // Of Amount; nil is all of it, once the word says that money was taken.
	Known     time.Time `json:"known,omitzero"`     // From when on look-ups know the payment.
	Reference string    `json:"reference"`          // The provider's own id beside the payment's.
	Created   time.Time `json:"created"`
	Changed   time.Time `json:"changed"`
	Since     time.Time `json:"since"` // When the status became what it is.
}

// captured is the part of the amount that was captured, given whether the word
// says that money was taken.
func (p payment) captured(taken bool) int64 {
	switch {
	case p.Captured != nil:
		return *p.Captured
	case taken:
		return p.Amount
	}
	return 0
}

// question is one look-up, before it is answered.
type question struct {
	unit    unit
	id      string
	account string // "" when the credential is nobody's.
}

// dialect is how one provider speaks, as a value of pure functions: the
// server around it keeps the state, fails on demand and counts.
type dialect struct {
	// opening is the word of a payment that is put without one. Its keys are
	// the units that the provider has.
	opening map[unit]string

	// word reads a status from a control call.
	word func(raw json.RawMessage) (string, error)

	// question says what a request under the provider's prefix asks for, and
	// for whom; false when its path is not one of the API.
	question func(r *http.Request, path []string, now time.Time) (question, bool)

	// login answers requests to the provider's token endpoint, nil when it has
	// none; false when the path is not that endpoint.
	login func(r *http.Request, path []string, now time.Time) (status int, body any, ok bool)

	// missing is the HTTP status for an id that the provider does not know.
	missing func(u unit) int

	// answer is the body for a known payment.
	answer func(k key, p payment) any

	// refusal is the body that goes with an HTTP error status.
	refusal func(status int) any

	// webhook is the request that tells the gateway of a payment. Its URL is
	// the gateway's base followed by a path without query.
	webhook func(base *url.URL, k key, p payment, now time.Time) (*http.Request, error)
}

// dialects are the providers that the simulator speaks, by slug.
func dialects() map[string]dialect {
	return map[string]dialect{
		picpay:    picpayDialect(),
		checkout:  checkoutDialect(),
		beeteller: beetellerDialect(),
		yapay:     yapayDialect(),
		sandbox:   sandboxDialect(),
	}
}

// examples are the payments of the providers' own documentation, known from
// the start so that their sample notifications lead to an answer.
func examples(now time.Time) map[key]entry {
	const charge = "61e35ec2-caa8-4598-bed5-d43e25e14151"
	known := func(p payment) entry {
		p.Created, p.Changed, p.Since = now, now, now
		return entry{Now: p}
	}
	return map[key]entry{
		{picpay, "default", payments, "102030"}: known(payment{
			Order: "102030", Status: "paid", Amount: 10000, Reference: "555008cef7f321d00ef236333",
		}),
		{checkout, "default", payments, charge}: known(payment{
			Order: charge, Status: "PAID", Amount: 10000, Reference: "07bef486-8d86-41b8-804b-f68e343a1791",
		}),
		{checkout, "default", authentications, "bac0ffd7-e4cb-48c7-9f3e-a05ff7eb40a1"}: known(payment{
			Order: charge, Status: "AUTHENTICATED", Amount: 10000, Reference: "21b91897-a897-49bc-b16e-6256f0bf2368",
		}),
	}
}
