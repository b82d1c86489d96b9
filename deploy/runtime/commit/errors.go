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
	ErrTimeout      = errors.New("no confirmation in time")                 // The message may be stored.
	ErrDisconnected = errors.New("broker is not connected")                 // Or was not until the ack. The message may be stored.
	ErrOverloaded   = errors.New("too many messages wait for the broker")   // The message was shed: an ack would not come in time. It is not stored.
	ErrStoreFailed  = errors.New("broker cannot write")                     // Because of an error of its disk. It stores nothing more until it is restarted.
	ErrFull         = errors.New("stream is full")                          // Or the broker's store is.
	ErrMissing      = errors.New("stream is missing")                       // Or has no leader.
	ErrTooLarge     = errors.New("message is too large for the broker")     // The broker never accepts a message of this size.
	errNeither      = errors.New("message has neither an id nor a guard")   // It could be stored twice.
	errNoBatches    = errors.New("the broker or the stream has no batches") // Brokers before nats-server 2.12 store the last message of a batch alone.

	// errUnproven means that the stream has the id of a message in doubt. That may be the
	// message itself, not durable.
	errUnproven = fmt.Errorf("%w: what is stored may not be durable", ErrTimeout)

	// errUnsettled means that the broker is still replicating the message or another one on
	// the guard's filter, or has too many batches in flight. The message is sent again, so no
	// caller gets this error before the timeout.
	errUnsettled = errors.New("another write is in flight")
)

// meanings maps errors of the client to the Err value that they mean.
var meanings = []struct {
	meaning error
	causes  []error
}{
	{ErrDisconnected, []error{nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, nats.ErrConnectionClosed, nats.ErrConnectionDraining}},
	{ErrTooLarge, []error{nats.ErrMaxPayload, jetstream.ErrStreamMessageExceedsMaximum}},
	{ErrTimeout, []error{context.DeadlineExceeded}},
	{ErrMissing, []error{jetstream.ErrNoStreamResponse, nats.ErrNoResponders, jetstream.ErrStreamNotFound}},
	{ErrMissing, []error{jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount}},
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
	10174:       errNoBatches, // The stream does not allow atomic batches.
}

const storeFailed = 10077 // The description is the store's own: a limit, or an error of the disk.

// Classify wraps an error of the client or the broker in the Err value that it means, or in
// stream.ErrConflict for a refused guard. Nil stays nil.
func Classify(err error) error {
	if known := meaning(err); known != nil {
		return fmt.Errorf("%w: %w", known, err)
	}
	return err
}

// meaning is the value that an error means, nil if there is none.
func meaning(err error) error {
	for _, m := range meanings {
		for _, cause := range m.causes {
			if errors.Is(err, cause) {
				return m.meaning
			}
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
