package provider

import (
	"errors"
	"fmt"

	"arauto/schemas/wire"
)

// Rule is what a refused webhook does not keep to. It is the label of a metric,
// so the list is closed.
type Rule string

// The rules of Verify and Read.
const (
	RuleBody              Rule = "body"               // The body is one JSON object, or one form, as the provider sends it.
	RuleKey               Rule = "key"                // No key comes twice.
	RuleType              Rule = "type"               // A field that is read has the type that it needs.
	RuleMissing           Rule = "missing"            // The webhook names a payment.
	RuleID                Rule = "id"                 // An id can be one: see CheckID of schemas/subject.
	RuleForm              Rule = "form"               // An id has the form that its provider documents.
	RuleWord              Rule = "word"               // A notification's type is a word, and not personal.
	RuleCredentialMissing Rule = "credential_missing" //nolint:gosec // A rule: the webhook carries a credential.
	RuleCredential        Rule = "credential"         // Its credential is one of the account's.
	RuleTimestamp         Rule = "timestamp"          // The time that its signature covers is near to its arrival.
)

// Rules lists every rule of Verify and Read.
func Rules() []Rule {
	return []Rule{
		RuleBody, RuleKey, RuleType, RuleMissing, RuleID, RuleForm, RuleWord, RuleCredentialMissing, RuleCredential, RuleTimestamp,
	}
}

// Refusal is why Verify or Read refuses a webhook: the rule, the field or header
// that breaks it, "" for the webhook as a whole, and the error in words. None of
// them holds a value of the webhook.
type Refusal struct {
	Rule  Rule
	Field string
	Err   error
}

func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the error in words, which wraps one of this package's sentinels.
func (r *Refusal) Unwrap() error { return r.Err }

// Refuse is the refusal of a webhook that breaks a rule of Read.
func Refuse(rule Rule, field, format string, args ...any) error {
	return &Refusal{Rule: rule, Field: field, Err: fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)}
}

// RefusalOf is the Refusal in an error of Verify or Read. One that names no rule is
// about the body as a whole.
func RefusalOf(err error) Refusal {
	var named *Refusal
	var field *wire.FieldError
	switch {
	case errors.As(err, &named):
		return Refusal{Rule: named.Rule, Field: named.Field, Err: err}
	case errors.As(err, &field) && field.Twice:
		return Refusal{Rule: RuleKey, Field: field.Field, Err: err}
	case errors.As(err, &field):
		return Refusal{Rule: RuleType, Field: field.Field, Err: err}
	case errors.Is(err, ErrNoCredential):
		return Refusal{Rule: RuleCredentialMissing, Err: err}
	case errors.Is(err, ErrBadCredential):
		return Refusal{Rule: RuleCredential, Err: err}
	}
	return Refusal{Rule: RuleBody, Err: err}
}
