package stale

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// missingFor is how long after the broker first did not find a message it must still not
// find it, before the message counts as removed. A guess: longer than a disk that fails
// for a moment.
const missingFor = time.Hour

// missing holds, by sequence, when the broker first did not find a message that it had.
//
// A broker whose disk fails answers so for a message that it cannot read (nats-server 2.15.3,
// server/jetstream_api.go, jsMsgGetRequest, whatever the error of LoadMsg). Before missing
// may go, check that such an error is answered with a code of its own.
type missing map[uint64]time.Time

// note takes the result of a read by sequence. isMissing reports whether the message was
// not found, and isGone whether it has not been found for missingFor, in two reads or more.
func (m missing) note(sequence uint64, err error, now time.Time) (isMissing, isGone bool) {
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		if err == nil {
			delete(m, sequence)
		}
		return false, false
	}
	first, known := m[sequence]
	if !known {
		m[sequence] = now
		return true, false
	}
	if now.Sub(first) < missingFor {
		return true, false
	}
	delete(m, sequence)
	return true, true
}
