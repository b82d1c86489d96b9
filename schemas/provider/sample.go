package provider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"arauto/schemas/order"
)

// Sample is what it takes to play a provider: the simulator, `make run`, the example
// configuration and the tests of other folders are made of it. It is written from the
// provider's documents and shares no code with what reads the provider, so that each checks
// the other. Its secrets are public and good for nothing else.
type Sample struct {
	// About says in a line or more what the provider is, for people who configure it.
	About string

	// Secret is the webhook secret, or the path key, of account default.
	Secret string

	// Settings configure account default. {url} in a value is where the simulator answers
	// for the provider. A secret that is missing here makes an account without look-ups.
	Settings map[string]string

	// Webhook is the provider's request about a payment, without its credential. Path, At
	// and Method are the caller's.
	Webhook func(s State) Webhook

	// Sign adds the credential to a webhook that the provider sends at w.At, nil where it
	// does not sign.
	Sign func(w *Webhook, secret string)

	// Redelivery is how long the provider is documented to send a webhook again, 0 where
	// its documents do not say.
	Redelivery time.Duration

	Currency string // ISO 4217, of every payment.
	Units    []SampleUnit

	Token   SampleToken          // What look-ups must carry.
	Refusal func(status int) any // The body of an HTTP error; JSON.
}

// SampleUnit is what an id names at a provider: a payment, or a part of one with a state of
// its own.
type SampleUnit struct {
	Name    string // In the control calls of the simulator: "payments" almost always.
	Kind    order.Kind
	Opening string // The word of a payment that was made without one.
	Numbers bool   // Words are whole numbers.

	// LookUp is the path and query of the look-up under the provider's URL, with {id} for
	// the payment. Where there is none, payments are notified only.
	LookUp string

	Prefix  string            // Before the id in the payment's name.
	Missing int               // HTTP status about a payment that the provider does not know.
	Answer  func(s State) any // The body of the answer; JSON.
	Known   []State           // Payments that the provider's documents show.

	// Stories are ways of payments of 10000, each from its beginning.
	Stories [][]Step
}

// SampleToken says where look-ups carry the credential of an account, which is the value of
// a setting.
type SampleToken struct {
	Setting string
	Header  string // Its name, or "".
	Scheme  string // Before the value in the header, with a space between them, or "".
	Query   string // Name of the query parameter if it is in no header.

	// Login is the path of the OAuth2 endpoint where a client, its id being the value of
	// LoginID and its secret that of Setting, gets the bearer token that look-ups carry.
	Login   string
	LoginID string
	Refused any // The body of the 401 to another client.
}

// State is a payment as the provider knows it. Amounts are minor units.
type State struct {
	Account string `json:"-"`
	Unit    string `json:"-"`
	ID      string `json:"-"`

	Order     string    `json:"order"`
	Status    string    `json:"status"` // In the provider's own word.
	Amount    int64     `json:"amount"`
	Refunded  int64     `json:"refunded"`
	Captured  *int64    `json:"captured,omitempty"` // Of Amount; nil is all of it, once the word says that money was taken.
	Known     time.Time `json:"known,omitzero"`     // From when on look-ups know the payment.
	Reference string    `json:"reference"`          // The provider's own id beside the payment's: 32 hexadecimal digits.
	Created   time.Time `json:"created"`
	Changed   time.Time `json:"changed"`
	Since     time.Time `json:"since"` // When the status became what it is.
}

// CapturedSum is the part of the amount that was captured. taken says whether the word says
// that money was taken.
func (s State) CapturedSum(taken bool) int64 {
	switch {
	case s.Captured != nil:
		return *s.Captured
	case taken:
		return s.Amount
	}
	return 0
}

// Step is a state in a story, and what is published about it.
type Step struct {
	Word     string
	Refunded int64
	Captured *int64
	Status   order.Status
}

// DefaultAccount is the account whose values a Sample has.
const DefaultAccount = "default"

// OfAccount is an account's own version of a value: that of account default as it stands,
// any other with the account's name and a hyphen before it.
func OfAccount(account, value string) string {
	if account == DefaultAccount {
		return value
	}
	return account + "-" + value
}

// JSONWebhook is a webhook whose body is v as JSON. It panics for what has no JSON.
func JSONWebhook(v any) Webhook {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return Webhook{Header: HeaderMap{"content-type": {"application/json"}}, Body: body}
}

// SignHeader is a Sign for providers that send the secret itself in a header.
func SignHeader(name string) func(w *Webhook, secret string) {
	return func(w *Webhook, secret string) {
		if headers, ok := w.Header.(HeaderMap); ok {
			headers[name] = []string{secret}
		}
	}
}

// Decimal writes cents as reais without a float, with at least the given number of
// decimals: 10000 is "100" or "100.0", 9599 is "95.99".
func Decimal(cents int64, decimals int) string {
	text := fmt.Sprintf("%d.%02d", cents/100, cents%100)
	for strings.HasSuffix(text, "0") && len(text)-strings.IndexByte(text, '.')-1 > decimals {
		text = text[:len(text)-1]
	}
	return strings.TrimSuffix(text, ".")
}

// Brazilian is t in the time zone that Brazil's providers write times in.
func Brazilian(t time.Time) time.Time { return t.In(time.FixedZone("", -3*60*60)) }

// PlainError is a JSON error body with the text of an HTTP status, for providers whose
// documents show none.
func PlainError(status int) any { return map[string]string{"error": http.StatusText(status)} }
