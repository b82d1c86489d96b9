// Package expectation is what internal services say is due, and what came of it: the
// bodies on EXPECTATIONS and OUTCOMES. It is pure: no input or output, no clock, no
// randomness.
package expectation

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"arauto/schemas/subject"
)

// Schema is the JSON Schema (draft 2020-12) of an expectation's body.
//
//go:embed expectation.v1.schema.json
var Schema []byte

// Amount is a sum in integer minor units of a currency.
type Amount struct {
	Currency string `json:"currency"` // ISO 4217, upper case.
	Value    int64  `json:"value"`    // Minor units, before any refund.
}

// Expectation is a payment that an internal service expects, as it is published on
// EXPECTATIONS. Its provider, account and payment are those of the subject.
type Expectation struct {
	Order     string     `json:"order,omitempty"`
	Amount    *Amount    `json:"amount"`              // Nil where any sum will do.
	Deadline  *time.Time `json:"deadline"`            // Nil where the deployment's default holds.
	Payment   string     `json:"payment,omitempty"`   // The payment's id. It may be missing where the subject's token is no hash.
	Withdrawn bool       `json:"withdrawn,omitempty"` // The payment is no longer expected. The other fields are ignored then.
}

// isCurrency reports whether code has the form of an ISO 4217 code.
func isCurrency(code string) bool {
	return len(code) == 3 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// earliest and latest bound a deadline: another one can only be a typing error.
var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// maxValue bounds a sum: every JSON reader holds it exactly.
const maxValue = 1<<53 - 1

// Read decodes a body. It is strict about the values that it knows, and ignores fields that
// it does not know. The error names the field.
func Read(body []byte) (Expectation, error) {
	var e Expectation
	if err := json.Unmarshal(body, &e); err != nil {
		return Expectation{}, fmt.Errorf("decode expectation: %s", reasonOf(err))
	}
	if err := e.Check(); err != nil {
		return Expectation{}, err
	}
	if e.Withdrawn {
		return Expectation{Withdrawn: true, Payment: e.Payment}, nil
	}
	if e.Deadline != nil {
		at := e.Deadline.UTC()
		e.Deadline = &at
	}
	return e, nil
}

// Check says which value of an expectation cannot be true, or nil. The error names the
// field.
func (e Expectation) Check() error {
	if e.Payment != "" {
		if err := subject.CheckID(e.Payment); err != nil {
			return fmt.Errorf("payment: %w", err)
		}
	}
	if e.Withdrawn {
		return nil
	}
	if err := subject.CheckID(e.Order); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	if a := e.Amount; a != nil {
		switch {
		case !isCurrency(a.Currency):
			return errors.New("amount.currency: it is not three capital letters")
		case a.Value < 1 || a.Value > maxValue:
			return errors.New("amount.value: it is not a sum in minor units, from 1 to 2^53-1")
		}
	}
	if e.Deadline != nil && (e.Deadline.Before(earliest) || e.Deadline.After(latest)) {
		return errors.New("deadline: it is not between the years 2000 and 2200")
	}
	return nil
}

// reasonOf is what is wrong with a body, without quoting any of it.
func reasonOf(err error) string {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) && semantic.JSONPointer != "" {
		return "a value is not of the right form at " + field(string(semantic.JSONPointer))
	}
	return "it is not one JSON object of the expected form"
}

// field is a JSON pointer if it is one of ours. Another may hold what a caller wrote.
func field(pointer string) string {
	for _, known := range []string{"/order", "/amount", "/amount/currency", "/amount/value", "/deadline", "/payment", "/withdrawn"} {
		if pointer == known {
			return strings.ReplaceAll(pointer[1:], "/", ".")
		}
	}
	return "an unknown field"
}

// Version names what is expected of a payment: the same content is the same version, however
// often and in which words it is announced.
func (e Expectation) Version(payment string) string {
	parts := []string{payment, e.Order, "", "", ""}
	if e.Amount != nil {
		parts[2], parts[3] = e.Amount.Currency, strconv.FormatInt(e.Amount.Value, 10)
	}
	if e.Deadline != nil {
		parts[4] = e.Deadline.UTC().Format(time.RFC3339Nano)
	}
	return digest(parts...)
}

// WithdrawalVersion is the version of a withdrawal that was stored at a time.
func WithdrawalVersion(payment string, at time.Time) string {
	return digest(payment, "withdrawn", at.UTC().Format(time.RFC3339Nano))
}

// UnreadableVersion is the version of a body that does not decode.
func UnreadableVersion(body []byte) string { return digest("unreadable", string(body)) }

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}
