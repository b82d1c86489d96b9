package provider

import (
	"errors"
	"fmt"
	"net/http"
)

// What Verify and Read say about a webhook.
var (
	// ErrNoCredential means that the webhook carries no credential at all.
	ErrNoCredential = errors.New("webhook carries no credential")
	// ErrBadCredential means that it carries one that is not ours.
	ErrBadCredential = errors.New("webhook credential does not match")
	// ErrInvalid means that the webhook names no payment that we could use.
	ErrInvalid = errors.New("webhook is invalid")
)

// What Ask and Answer say. Each is a cause of its own in the retry policies.
var (
	// ErrNoLookUp means that this account has no look-up configured.
	ErrNoLookUp = errors.New("no look-up is configured")
	// ErrNotFound means that the provider does not know the payment.
	ErrNotFound = errors.New("provider does not know the payment")
	// ErrCredential means that the provider refused our credential.
	ErrCredential = errors.New("provider refused the account's credential")
	// ErrRevoked is ErrCredential where it is certain that the credential itself
	// is refused, whichever payment it was used for.
	ErrRevoked = fmt.Errorf("%w itself", ErrCredential)
	// ErrThrottled means that the provider asks us to slow down.
	ErrThrottled = errors.New("provider asks to slow down")
	// ErrUnavailable means that the provider failed on its side.
	ErrUnavailable = errors.New("provider failed")
	// ErrRefused means that the provider refuses the question as it stands.
	ErrRefused = errors.New("provider refused the question")
	// ErrForeign is ErrRefused where the words are not the provider's own: a
	// firewall before it refuses the request.
	ErrForeign = fmt.Errorf("%w in words that are not its own", ErrRefused)
	// ErrUnreadable means that there is an answer which cannot be used: it does
	// not parse, redirects, or is about another payment.
	ErrUnreadable = errors.New("answer is unreadable")
)

// UnknownWordError names a provider's word that is not in its vocabulary.
// Nothing is guessed from such a word.
type UnknownWordError struct{ Word string }

func (e *UnknownWordError) Error() string { return fmt.Sprintf("unknown provider word %q", e.Word) }

// StatusError is the class of an HTTP status: nil for 200, a wrapped sentinel
// of this package for everything else. It is never ErrNotFound: an edge says
// 404 of every payment while the provider behind it is deployed, or where the
// configured path is wrong. Adapters look first at what their provider says
// otherwise; see Missing and Foreign.
func StatusError(status int) error {
	class := ErrRefused
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		class = ErrCredential
	case status == http.StatusTooManyRequests:
		class = ErrThrottled
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500,
		status == http.StatusNotFound, status == http.StatusGone:
		class = ErrUnavailable
	case status < 400:
		class = ErrUnreadable
	}
	return fmt.Errorf("status %d: %w", status, class)
}
