// Package record holds the documents on the internal streams: the accepted
// notification, the parked look-up, the dead letter, the circuit and the audit
// entry. Observations and events are in schemas/order. It is pure.
package record

import (
	_ "embed"
	"slices"
	"time"

	"arauto/schemas/order"
)

// Notification is one accepted webhook as stored on NOTIFICATIONS. It holds
// allow-listed fields only; the body itself is not kept.
type Notification struct {
	ID         string            `json:"id"` // UUIDv7, also the message id.
	Provider   string            `json:"provider"`
	Account    string            `json:"account"`
	Kind       order.Kind        `json:"kind"`
	Payment    string            `json:"payment"`
	Order      string            `json:"order,omitempty"` // "" where the webhook names none.
	ReceivedAt time.Time         `json:"received_at"`
	Unknown    string            `json:"unknown_type,omitempty"` // The provider's type when we do not know it.
	Trace      string            `json:"traceparent"`            // W3C trace context: the caller's, or one that the gateway began.
	Headers    map[string]string `json:"headers,omitempty"`      // Allow-listed, lower-case names.
	Fields     map[string]string `json:"fields,omitempty"`       // Allow-listed by the adapter.
}

// ScheduledLookUp is a look-up that waits, as stored on LOOKUP_RETRIES. There is at
// most one per payment.
type ScheduledLookUp struct {
	Provider     string            `json:"provider"`
	Account      string            `json:"account"`
	Kind         order.Kind        `json:"kind"`
	Payment      string            `json:"payment"`
	Order        string            `json:"order,omitempty"`
	Fields       map[string]string `json:"fields,omitempty"`
	Covers       uint64            `json:"covers"`                     // Highest NOTIFICATIONS sequence that it answers for, 0 for none.
	Notification string            `json:"notification,omitempty"`     // Id of that notification.
	NotifiedAt   *time.Time        `json:"notified_at,omitempty"`      // When it was received.
	Trace        string            `json:"traceparent,omitempty"`      // Its trace context.
	Cause        order.Cause       `json:"cause"`                      // Why it will ask.
	Reason       string            `json:"reason"`                     // Why it waits, in a word.
	Attempts     int               `json:"attempts"`                   // Failures that counted against the retry policy.
	NotFound     int               `json:"not_found,omitempty"`        // Times that the provider did not know the payment.
	Rechecks     int               `json:"rechecks,omitempty"`         // Rechecks in this series, at most MaxRechecks.
	FirstFailure *time.Time        `json:"first_failure_at,omitempty"` // All offsets count from it.
	DueAt        time.Time         `json:"due_at"`
	Expedited    bool              `json:"expedited,omitempty"` // It is due before its retry is; failing then spends no attempt.

	FailedLookUps []order.FailedLookUp `json:"failed_look_ups,omitempty"` // Those since the last answer.

	NotificationsCreated time.Time `json:"notifications_created,omitzero"` // When the NOTIFICATIONS that Covers counts on was created.
}

// MaxRechecks is how many rechecks lookup makes of an answer that may be stale.
const MaxRechecks = 2

// Cover makes p cover the notification that other covers, with
// what that says of the payment.
func (p *ScheduledLookUp) Cover(other ScheduledLookUp) {
	p.Covers, p.NotificationsCreated = other.Covers, other.NotificationsCreated
	p.Notification, p.NotifiedAt, p.Trace = other.Notification, other.NotifiedAt, other.Trace
	p.Order, p.Fields = other.Order, other.Fields
}

// Refused reports whether the provider refused the account's credential in a look-up of the
// payment since its last answer.
func (p ScheduledLookUp) Refused() bool {
	return slices.ContainsFunc(p.FailedLookUps, func(f order.FailedLookUp) bool { return f.Class == string(Credential) })
}

// NoAnswer is the last answer in the letter of what was given up unasked.
const NoAnswer = "none"

// Class says whose fault a dead letter is.
type Class string

// The classes.
const (
	ClassOurs       Class = "ours"       // We broke: a bug or a bad configuration.
	ClassProvider   Class = "provider"   // They are down, refuse, or say a word that we do not know.
	ClassData       Class = "data"       // What was said cannot be true of this payment.
	ClassSubscriber Class = "subscriber" // An internal subscriber refused an event.
)

// The stages that write dead letters: the workers, by the names of their roles.
const (
	StageLookup    = "lookup"
	StageNormalize = "normalize"
	StageSweep     = "sweep"
)

// DeadLetter is what could not be finished, as stored on DEAD_LETTERS.
type DeadLetter struct {
	ID             string     `json:"id"` // Original stream and sequence.
	Class          Class      `json:"class"`
	Stage          string     `json:"stage"` // Which worker gave up.
	Provider       string     `json:"provider"`
	Account        string     `json:"account"`
	Kind           order.Kind `json:"kind"`
	Payment        string     `json:"payment"`
	Order          string     `json:"order,omitempty"`
	Cause          string     `json:"cause"` // The error chain, without secrets and personal data.
	Attempts       int        `json:"attempts"`
	LastAnswer     string     `json:"last_answer"` // Class of the provider's last answer, "none" without one.
	Stream         string     `json:"stream"`      // Where the original is.
	Sequence       uint64     `json:"sequence"`
	Covers         uint64     `json:"covers,omitempty"`          // Highest NOTIFICATIONS sequence that the look-up stood for, from lookup.
	Observation    uint64     `json:"observation,omitempty"`     // STATUSES sequence, from normalize.
	ProviderStatus string     `json:"provider_status,omitempty"` // The provider's own word.
	Insists        *Insists   `json:"insists,omitempty"`         // What the provider insists on, from normalize.
	Next           string     `json:"next"`                      // What to do about it.
	At             time.Time  `json:"at"`

	FailedLookUps []order.FailedLookUp `json:"failed_look_ups,omitempty"` // Those since the last answer, from lookup.

	Created map[string]time.Time `json:"created,omitempty"` // When the streams were created that the sequences here count on, by name.

	// What an operator made of it. The letter is then stored once more, as a
	// marker, because the stream is written to and never changed.
	State        State      `json:"state,omitempty"`
	By           string     `json:"by,omitempty"`             // Who, as user@host.
	MarkedAt     *time.Time `json:"marked_at,omitempty"`      // When.
	ReportedUpTo uint64     `json:"reported_up_to,omitempty"` // Highest observation that the payment's letters had reported before the marker, or before a letter that names none.
}

// Insists is a contradiction that the provider keeps to: its word and sum, in
// minor units, what was published, and when the provider began to contradict it.
type Insists struct {
	Status            order.Status `json:"status"`
	Refunded          int64        `json:"refunded"`
	Published         order.Status `json:"published"`
	PublishedRefunded int64        `json:"published_refunded"`
	Since             time.Time    `json:"since"`
}

// State says what was made of a dead letter.
type State string

// The states. A letter is open until an operator acts on it, or until a later
// answer of the provider agrees with what was published.
const (
	Open      State = ""
	Redriven  State = "redriven"  // The provider is asked again.
	Discarded State = "discarded" // An operator has given it up.
	Resolved  State = "resolved"  // The provider no longer insists on a contradiction.
)

// Reported is the highest observation that l reports. A marker may concern
// an older letter than the payment's last one; what had been reported by then
// must not be reported again.
func (l DeadLetter) Reported() uint64 { return max(l.Observation, l.ReportedUpTo) }

// DeadLetterSchema is the JSON Schema (draft 2020-12) of a dead letter. It is
// a published contract: a change of meaning is a new version in a new file.
//
//go:embed deadletter.v1.schema.json
var DeadLetterSchema []byte
