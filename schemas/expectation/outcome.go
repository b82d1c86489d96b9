package expectation

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"

	"arauto/schemas/order"
)

// OutcomeSchema is the JSON Schema (draft 2020-12) of an outcome's body. It is a published
// contract: a change of meaning is a new version in a new file.
//
//go:embed outcome.v1.schema.json
var OutcomeSchema []byte

// OutcomeSchemaID is the $id of OutcomeSchema, which each outcome names in ce-dataschema.
const OutcomeSchemaID = "urn:arauto:expectation-outcome:v1"

// Word is what came of an expectation. The words are wire format: they appear in subjects
// and bodies and never change meaning.
type Word string

// The outcomes.
const (
	Met            Word = "met"             // Paid in time, the expected sum, and by one payment.
	AmountMismatch Word = "amount_mismatch" // Paid, but another sum or currency.
	PaidLate       Word = "paid_late"       // Paid after the deadline.
	PaidTwice      Word = "paid_twice"      // Paid, and so is another payment of the order.
	NeverPaid      Word = "never_paid"      // Ended without money, or unpaid in an answer that was asked after the deadline.
	Unannounced    Word = "unannounced"     // The provider changed the payment's state and sent no webhook about it.
	Refused        Word = "refused"         // The expectation cannot be read, or its payment cannot be looked up.
	Withdrawn      Word = "withdrawn"       // The payment is no longer expected.
)

// Words lists every outcome, in the order of their declaration.
func Words() []Word {
	return []Word{Met, AmountMismatch, PaidLate, PaidTwice, NeverPaid, Unannounced, Refused, Withdrawn}
}

// Outcome is what came of one version of an expectation, as it is published on OUTCOMES.
// Each outcome of a version is published once.
type Outcome struct {
	Provider   string        `json:"provider"`
	Account    string        `json:"account"`
	Payment    string        `json:"payment"`
	Order      *string       `json:"order"` // The expected one; nil where the expectation cannot be read, or is withdrawn.
	Outcome    Word          `json:"outcome"`
	Version    string        `json:"version"`    // Of the expectation.
	Expected   *Amount       `json:"expected"`   // Nil where any sum will do.
	Deadline   *time.Time    `json:"deadline"`   // The one that was judged by.
	Paid       *Amount       `json:"paid"`       // The captured sum, before any refund; nil while nothing was captured, or the provider gives none.
	Status     *order.Status `json:"status"`     // Of the payment when it was judged; nil while the provider does not know it.
	Transition *uint64       `json:"transition"` // The number of the order event with that status.
	Other      *Payment      `json:"other"`      // The other paid payment of the order.
	Reason     *string       `json:"reason"`     // Why the expectation is refused, or what the payment ended in.
	At         time.Time     `json:"at"`         // When it was judged, by the broker's clock.
}

// Payment names a payment.
type Payment struct {
	Provider string `json:"provider"`
	Account  string `json:"account"`
	Payment  string `json:"payment"`
}

// ReadOutcome decodes the body of an outcome. Fields that it does not know are ignored; a
// word that it does not know is an error that names the word.
func ReadOutcome(body []byte) (Outcome, error) {
	var o Outcome
	if err := json.Unmarshal(body, &o); err != nil {
		return Outcome{}, fmt.Errorf("decode outcome: %w", err)
	}
	if !slices.Contains(Words(), o.Outcome) {
		return Outcome{}, fmt.Errorf("decode outcome: unknown word %q", o.Outcome)
	}
	return o, nil
}

// ID is the outcome's deterministic identity: the same outcome of the same version of the
// same payment gives the same id, whichever process judges it.
func (o Outcome) ID() string {
	return digest(o.Provider, o.Account, o.Payment, o.Version, string(o.Outcome))
}

// CloudEvent returns the CloudEvents 1.0 binary-mode headers for the outcome of a deployment,
// whose name may be "". The subject is what names the order, or else the payment, where the id itself must not: see
// schemas/subject. Values are percent-encoded as the NATS binding asks.
func (o Outcome) CloudEvent(deployment, subject string) map[string]string {
	return map[string]string{
		"ce-specversion":     "1.0",
		"ce-id":              o.ID(),
		"ce-source":          order.Source(deployment, o.Provider, o.Account),
		"ce-type":            "arauto.expectation." + string(o.Outcome) + ".v1",
		"ce-subject":         url.PathEscape(subject),
		"ce-time":            o.At.UTC().Format(time.RFC3339Nano),
		"ce-datacontenttype": "application/json",
		"ce-dataschema":      OutcomeSchemaID,
	}
}
