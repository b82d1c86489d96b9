package order

import "time"

// Amount is money in integer minor units (centavos for BRL). Floats never
// touch it.
type Amount struct {
	Currency string `json:"currency"` // ISO 4217, upper case.
	Value    int64  `json:"value"`    // Minor units, before any refund: captured, or authorized while nothing was captured.
	Refunded int64  `json:"refunded"` // Minor units given back so far.

	// Authorized is in minor units, 0 where the provider does not tell it. Value is
	// this sum until something was captured.
	Authorized int64 `json:"authorized,omitempty"`
}

// Fact is what a provider says about a payment, in our words. Adapters make
// it; everything that the provider does not say stays empty.
type Fact struct {
	Kind              Kind
	Order             string     // The merchant's order, "" when the answer names none.
	ProviderReference string     // The provider's own id beside the payment's, as provider.Code passes it, "" when none.
	Status            Status     // Our word.
	ProviderStatus    string     // The provider's word, as it stands.
	Reason            string     // The provider's reason for a refusal, "" when none.
	Amount            *Amount    // nil when the provider gives none.
	OccurredAt        *time.Time // When the provider says that it happened, nil when it does not.
}

// Cause says why the provider was asked, or that it was not.
type Cause string

// The causes of an observation and of a parked look-up.
const (
	CauseNotification Cause = "notification" // A webhook, fresh or retried.
	CauseRecheck      Cause = "recheck"      // The provider's read side may lag its webhook.
	CauseConfirmation Cause = "confirmation" // A return edge wants a second, agreeing look.
	CauseSweep        Cause = "sweep"        // The payment fell silent.
	CauseOperator     Cause = "operator"     // An operator asked by hand.
	CauseExpectation  Cause = "expectation"  // An internal service expects the payment.
)

// Observation is one sample of a payment, as stored on STATUSES. The
// observations of one payment form a chain: each was written under the guard
// of the one before it.
type Observation struct {
	Provider          string     `json:"provider"`
	Account           string     `json:"account"`
	Kind              Kind       `json:"kind"`
	Payment           string     `json:"payment"`
	Order             string     `json:"order"`
	ProviderReference string     `json:"provider_reference,omitempty"`
	Status            Status     `json:"status,omitempty"` // Empty when the provider's word is unknown to us.
	ProviderStatus    string     `json:"provider_status"`
	Reason            string     `json:"reason,omitempty"`
	Amount            *Amount    `json:"amount,omitempty"`
	OccurredAt        *time.Time `json:"occurred_at,omitempty"`
	Confirmed         bool       `json:"confirmed"` // Whether the provider was asked.
	Cause             Cause      `json:"cause"`
	AskedAt           time.Time  `json:"asked_at"`
	AnsweredAt        time.Time  `json:"answered_at"`
	Covers            uint64     `json:"covers"`                 // Highest NOTIFICATIONS sequence of the payment that it answers.
	Notification      string     `json:"notification,omitempty"` // Id of the notification that prompted it.
	NotifiedAt        *time.Time `json:"notified_at,omitempty"`  // When that notification was received.

	FailedLookUps []FailedLookUp `json:"failed_look_ups,omitempty"` // Those since the answer before.

	NotificationsCreated time.Time `json:"notifications_created,omitzero"` // When the NOTIFICATIONS that Covers counts on was created.

	// RefusedUntil is set in the mark that an operator leaves where a payment was erased,
	// which is no answer and has nothing else. Until then what a webhook says of the
	// payment, and answers that are on their way, are dropped.
	RefusedUntil *time.Time `json:"refused_until,omitempty"`
}

// SameWord reports whether o says the same as p: status, provider's word and
// refunded sum.
func (o Observation) SameWord(p Observation) bool {
	return o.Status == p.Status && o.ProviderStatus == p.ProviderStatus && o.refunded() == p.refunded()
}

// Void reports whether o says that the payment was refunded although nothing of
// what was authorized had been captured.
func (o Observation) Void() bool {
	a := o.Amount
	return o.Status == Refunded && a != nil && a.Refunded == 0 && a.Value > 0 && a.Value == a.Authorized
}

func (o Observation) refunded() int64 {
	if o.Amount == nil {
		return 0
	}
	return o.Amount.Refunded
}
