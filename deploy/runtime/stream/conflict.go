package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/wait"
)

// ErrConflict means that another writer was first: what a decision was based on is
// no longer the last message of its subject. Read, decide and append again.
var ErrConflict = errors.New("another writer was first")

// ErrContended means that other writers were first at every attempt.
var ErrContended = fmt.Errorf("other writers were first %d times in a row", maxConflicts)

// IsConflict reports whether err is ErrConflict, or the broker's refusal of a
// compare-and-append. A replicated stream refuses with a code of its own, 10164,
// while another write to the subject is in flight.
func IsConflict(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return true
	}
	return errors.Is(err, ErrConflict)
}

// maxConflicts is how many attempts RetryConflicts makes. Each conflict means that
// another writer has progressed; a guess.
const maxConflicts = 20

// RetryConflicts calls attempt, which reads, decides and appends, until it returns no
// conflict. After 20 conflicts it returns ErrContended, which is not a conflict, so that
// nested calls do not multiply the attempts.
func RetryConflicts(ctx context.Context, attempt func() error) error {
	for range maxConflicts {
		err := attempt()
		if !IsConflict(err) {
			return err
		}
		if ended := WaitAfterConflict(ctx, err); ended != nil {
			return ended
		}
	}
	return ErrContended
}

// conflictDelay is how long a replicated stream gets to finish the write in flight:
// a few round trips between its servers, a guess.
const conflictDelay = 10 * time.Millisecond

// WaitAfterConflict waits 10 ms when an append was refused because another write is
// in flight (10164), since a read before that ends would return the old message. It
// returns the error of ctx if that ends first.
func WaitAfterConflict(ctx context.Context, refusal error) error {
	var api *jetstream.APIError
	inFlight := errors.As(refusal, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant
	if inFlight && !wait.For(ctx, conflictDelay) {
		return fmt.Errorf("wait after a conflict: %w", ctx.Err())
	}
	return nil
}
