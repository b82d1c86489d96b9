package commit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
)

// Why a message could not be stored.
var (
	// ErrTimeout means that no ack came in time. The message may be stored.
	ErrTimeout = errors.New("no confirmation in time")
	// ErrDisconnected means that the connection to the broker is down, or broke before
	// the ack. The message may be stored.
	ErrDisconnected = errors.New("broker is not connected")
	// ErrOverloaded means that the message was shed: an ack would not come in time. The
	// message is not stored.
	ErrOverloaded = errors.New("too many messages wait for the broker")
	// ErrStoreFailed means that the broker cannot write because of an error of its disk.
	// It stores nothing more until it is restarted.
	ErrStoreFailed = errors.New("broker cannot write")
	// ErrFull means that the stream or the broker's store is full.
	ErrFull = errors.New("stream is full")
	// ErrMissing means that the stream does not exist or has no leader.
	ErrMissing = errors.New("stream is missing")
	// ErrTooLarge means that the broker never accepts a message of this size.
	ErrTooLarge = errors.New("message is too large for the broker")
)

// errUnsettled means that the broker is still replicating the message or another one on the
// guard's filter, or has too many batches in flight. It is sent again, so no caller gets
// this error before the timeout.
var errUnsettled = errors.New("another write is in flight")

// meanings maps errors of the client to the Err value that they mean.
var meanings = []struct{ cause, meaning error }{
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
}

// codes maps error codes of nats-server 2.15.3 (server/jetstream_errors_generated.go) that
// nats.go 1.55.0 gives no name to what they mean. Before one may go, check that
// jetstream/errors.go of nats.go has it.
var codes = map[jetstream.ErrorCode]error{
	10023:       ErrFull,            // A limit of the account or the server is reached.
	10028:       ErrFull,            // The same of its memory.
	10047:       ErrFull,            // The same of its storage.
	10060:       ErrMissing,         // The subject belongs to another stream.
	10071:       stream.ErrConflict, // The guard refuses the message.
	storeFailed: ErrStoreFailed,
	10158:       errUnsettled, // A message with this id is being replicated.
	10164:       errUnsettled, // A message on the guard's filter is being replicated.
}

const (
	storeFailed   = 10077 // The description is the store's own: a limit, or an error of the disk.
	batchDisabled = 10174 // The stream does not allow atomic batches.
)

// Classify wraps an error of the client or the broker in the Err value that it means, or in
// stream.ErrConflict for a refused guard. Nil stays nil.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	if known := meaning(err); known != nil {
		return fmt.Errorf("%w: %w", known, err)
	}
	return err
}

// meaning is the value that an error means, nil if there is none.
func meaning(err error) error {
	for _, m := range meanings {
		if errors.Is(err, m.cause) {
			return m.meaning
		}
	}
	var network net.Error // The client returns that of its connection as it is.
	if errors.As(err, &network) {
		return ErrDisconnected
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return nil
	}
	if api.ErrorCode == storeFailed && strings.Contains(api.Description, "maximum") {
		return ErrFull
	}
	return codes[api.ErrorCode]
}
