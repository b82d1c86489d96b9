package record

import (
	_ "embed"
	"time"
)

// Audit is one entry of AUDIT: what an operator is about to change. It is
// confirmed before the change, so that there is no change without one; an
// entry without its change means that the change failed or did nothing.
type Audit struct {
	ID       string    `json:"id"`
	Verb     string    `json:"verb"`
	Who      string    `json:"who"` // The operating system's user.
	Host     string    `json:"host"`
	At       time.Time `json:"at"`
	Provider string    `json:"provider"`
	Account  string    `json:"account"`
	Payment  string    `json:"payment,omitempty"` // As a subject token, so that the trail holds no personal data.
	Letter   string    `json:"letter,omitempty"`  // Id of the dead letter concerned.
	What     string    `json:"what"`              // In a sentence.
}

// AuditSchema is the JSON Schema (draft 2020-12) of an audit entry. It is a published
// contract: a change of meaning is a new version in a new file.
//
//go:embed audit.v1.schema.json
var AuditSchema []byte
