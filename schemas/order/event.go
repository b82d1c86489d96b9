package order

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// EventSchema is the JSON Schema (draft 2020-12) of an event's body. It is a
// published contract: a change of meaning is a new version in a new file.
//
//go:embed event.v1.schema.json
var EventSchema []byte

// SchemaID is the $id of EventSchema, which each event names in ce-dataschema.
const SchemaID = "urn:arauto:order-event:v1"

// Event announces one transition of one payment. The numbers of a payment's
// transitions are consecutive from 1, so whoever sees n+2 after n knows that
// one is missing. Of a payment that has not moved for long sweep keeps the last
// event only, so the first one that somebody sees may have any number.
type Event struct {
	Provider          string     `json:"provider"`
	Account           string     `json:"account"`
	Kind              Kind       `json:"kind"`
	Order             string     `json:"order"`
	Payment           string     `json:"payment"`
	ProviderReference *string    `json:"provider_reference"`
	Transition        uint64     `json:"transition"`
	From              *Status    `json:"from"` // nil on the first.
	Status            Status     `json:"status"`
	Final             bool       `json:"final"`
	Confirmed         bool       `json:"confirmed"` // Whether the provider was asked.
	ProviderStatus    string     `json:"provider_status"`
	Reason            *string    `json:"reason"`
	Amount            *Amount    `json:"amount"`
	Correction        bool       `json:"correction,omitempty"` // It contradicts the event before it, which was final or said that more was refunded.
	Restarted         bool       `json:"restarted,omitempty"`  // Its log may have been removed, and begins again.
	OccurredAt        *time.Time `json:"occurred_at"`
	ObservedAt        time.Time  `json:"observed_at"`
	Observation       uint64     `json:"observation"` // STATUSES sequence that it was folded from.
	Notification      *string    `json:"notification"`
}

// Announce makes the event for an observation that Fold called Applied. The
// previous event is nil for the first; sequence is the observation's on
// STATUSES and after is the standing that Fold returned.
func Announce(previous *Event, o Observation, sequence uint64, after Standing) Event {
	e := Event{
		Provider: o.Provider, Account: o.Account, Kind: o.Kind,
		Order: o.Order, Payment: o.Payment,
		ProviderReference: optional(o.ProviderReference),
		Transition:        1,
		Status:            after.Status,
		Final:             after.Kind.Final(after.Status),
		Confirmed:         o.Confirmed,
		ProviderStatus:    o.ProviderStatus,
		Reason:            optional(o.Reason),
		Amount:            after.amount(),
		Correction:        after.Corrected(),
		OccurredAt:        o.OccurredAt,
		ObservedAt:        o.AnsweredAt.UTC(),
		Observation:       sequence,
		Notification:      optional(o.Notification),
	}
	if previous != nil {
		from := previous.Status
		e.From, e.Transition = &from, previous.Transition+1
		if e.Order == "" { // An answer that names no order does not change it.
			e.Order = previous.Order
		}
	}
	if e.Order == "" {
		e.Order = o.Payment
	}
	return e
}

// amount is the log's own, nil while none is known: the next fold starts where
// the event ended, whatever smaller sum an observation carried.
func (s Standing) amount() *Amount {
	if s.currency == "" {
		return nil
	}
	return &Amount{Currency: s.currency, Value: s.value, Refunded: s.Refunded, Authorized: s.authorized}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// ID is the event's deterministic identity: the same observation of the same
// payment gives the same id, whoever folds it.
func (e Event) ID() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		e.Provider, e.Account, e.Payment, strconv.FormatUint(e.Observation, 10),
	}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// Source is the CloudEvents source of an account's events: /provider/account, with the name
// of the deployment before it if that is not "".
func Source(deployment, provider, account string) string {
	source := "/" + provider + "/" + account
	if deployment != "" {
		source = "/" + deployment + source
	}
	return source
}

// CloudEvent returns the CloudEvents 1.0 binary-mode headers for the event of a deployment,
// whose name may be "". The subject is the order as headers may show it, see schemas/subject.
// Values are percent-encoded as the NATS binding asks.
func (e Event) CloudEvent(deployment, subject string) map[string]string {
	return map[string]string{
		"ce-specversion":     "1.0",
		"ce-id":              e.ID(),
		"ce-source":          Source(deployment, e.Provider, e.Account),
		"ce-type":            "arauto.order." + string(e.Status) + ".v1",
		"ce-subject":         url.PathEscape(subject),
		"ce-time":            e.ObservedAt.Format(time.RFC3339Nano),
		"ce-datacontenttype": "application/json",
		"ce-dataschema":      SchemaID,
		"ce-sequence":        strconv.FormatUint(e.Transition, 10),
	}
}
