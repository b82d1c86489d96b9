package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Why a notification could not be stored.
var (
	// ErrTimeout means that no ack came within the publish timeout. The message may be
	// stored.
	ErrTimeout = errors.New("no confirmation in time")
	// ErrDisconnected means that the connection to the broker is down, or broke before
	// the ack. The message may be stored.
	ErrDisconnected = errors.New("broker is not connected")
	// ErrOverloaded means that the message was shed: the queue is too long for an ack
	// in time. The message is not stored.
	ErrOverloaded = errors.New("too many notifications wait for the broker")
	// ErrStoreFailed means that the broker cannot write because of an error of its disk.
	// It stores nothing more until it is restarted.
	ErrStoreFailed = errors.New("broker cannot write")
	// ErrFull means that the stream or the broker's store is full.
	ErrFull = errors.New("stream is full")
	// ErrMissing means that the stream does not exist or has no leader.
	ErrMissing = errors.New("stream is missing")
	// ErrUnverified means that the durability requirement is not verified against this
	// broker, or that the broker does not meet it. The message may be stored.
	ErrUnverified = errors.New("broker is not trusted")
	// ErrTooLarge means that the broker never accepts a message of this size.
	ErrTooLarge = errors.New("message is too large for the broker")
)

// errInProcess means that the stream has received the message and is still replicating
// it. The message is retransmitted, so no caller gets this error.
var errInProcess = errors.New("the message is in process")

// classOther is the class of an error that wraps no Err value.
const classOther = "other"

// classified lists the Err values that have a class. An error that wraps several has the
// class of the first.
var classified = []struct {
	err   error
	class string
}{
	{ErrStoreFailed, "store_failed"}, {ErrTimeout, "timeout"}, {ErrDisconnected, "disconnected"}, {ErrOverloaded, "overloaded"},
	{ErrFull, "full"}, {ErrMissing, "missing"}, {ErrUnverified, "unverified"},
}

// Class is the metric label of an error of Store: one of Classes. ErrTooLarge has no
// class of its own, because its cause is the request.
func Class(err error) string {
	for _, known := range classified {
		if errors.Is(err, known.err) {
			return known.class
		}
	}
	return classOther
}

// Classes lists every value that Class returns.
func Classes() []string {
	list := make([]string, 0, len(classified)+1)
	for _, known := range classified {
		list = append(list, known.class)
	}
	return append(list, classOther)
}

// Error codes of nats-server 2.15.3 (server/jetstream_errors_generated.go) that nats.go
// 1.55.0 gives no name. Before one may go, check that jetstream/errors.go of nats.go has it.
const (
	insufficientResources = 10023 // A limit of the account or the server is reached.
	memoryExceeded        = 10028
	storageExceeded       = 10047
	streamMismatch        = 10060 // The subject belongs to another stream.
	storeFailed           = 10077 // The description is the store's own: a limit, or an error of the disk.
	duplicateInProcess    = 10158 // A message with this id is being replicated.
	batchDisabled         = 10174 // The stream does not allow atomic batches.
)

// classify wraps an error of the client or the broker in the Err value that it means.
func classify(err error) error {
	if known := sentinel(err); known != nil {
		return fmt.Errorf("%w: %w", known, err)
	}
	return err
}

// sentinel is the Err value that an error means, nil if there is none.
func sentinel(err error) error {
	for _, known := range []struct{ cause, meaning error }{
		{nats.ErrDisconnected, ErrDisconnected},
		{nats.ErrReconnectBufExceeded, ErrDisconnected},
		{nats.ErrConnectionReconnecting, ErrDisconnected},
		{nats.ErrConnectionClosed, ErrDisconnected},
		{nats.ErrConnectionDraining, ErrDisconnected},
		{nats.ErrMaxPayload, ErrTooLarge},
		{jetstream.ErrStreamMessageExceedsMaximum, ErrTooLarge},
		{context.DeadlineExceeded, ErrTimeout},
		{jetstream.ErrNoStreamResponse, ErrMissing},
		{nats.ErrNoResponders, ErrMissing},
		{jetstream.ErrStreamNotFound, ErrMissing},
		{jetstream.ErrJetStreamNotEnabled, ErrMissing},
		{jetstream.ErrJetStreamNotEnabledForAccount, ErrMissing},
	} {
		if errors.Is(err, known.cause) {
			return known.meaning
		}
	}
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		return nil
	}
	switch refused.ErrorCode {
	case insufficientResources, memoryExceeded, storageExceeded:
		return ErrFull
	case streamMismatch:
		return ErrMissing
	case duplicateInProcess:
		return errInProcess
	case storeFailed:
		if strings.Contains(refused.Description, "maximum") {
			return ErrFull
		}
		return ErrStoreFailed
	}
	return nil
}
