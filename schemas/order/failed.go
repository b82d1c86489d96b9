package order

import (
	"strings"
	"time"
)

// FailedLookUp is one look-up that was made and failed. The list of them travels
// with what is parked, into the observation that ends the failures or into the
// dead letter, so that an operator can read why a payment waited.
type FailedLookUp struct {
	At      time.Time  `json:"at"`                    // When the provider was asked.
	Class   string     `json:"class"`                 // The class of the failure, such as transport or unreadable.
	Error   string     `json:"error"`                 // The error chain, without secrets and personal data, at most maxError bytes.
	HTTP    int        `json:"http_status,omitempty"` // 0 without an answer.
	Attempt int        `json:"attempt"`               // Attempts spent when it had failed.
	Next    *time.Time `json:"next_at,omitempty"`     // When it is asked again, nil when it was given up.
}

// Bounds of what is kept of failed look-ups, so that a payment whose provider
// fails for days stays small.
const (
	maxFailed = 12
	maxError  = 200
)

// JoinFailed is both lists as one, by time and each look-up once. Of more than
// twelve it keeps the first and the latest eleven.
func JoinFailed(a, b []FailedLookUp) []FailedLookUp {
	if len(b) == 0 {
		return a
	}
	var all []FailedLookUp
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].At.Before(b[0].At):
			all, a = append(all, a[0]), a[1:]
		case len(a) > 0 && a[0].At.Equal(b[0].At):
			a = a[1:]
		default:
			all, b = append(all, b[0]), b[1:]
		}
	}
	for i := range all {
		if len(all[i].Error) > maxError {
			all[i].Error = strings.ToValidUTF8(all[i].Error[:maxError], "")
		}
	}
	if len(all) > maxFailed {
		all = append(all[:1], all[len(all)-maxFailed+1:]...)
	}
	return all
}
