package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is one notification on its way to the stream. Nothing in it aliases
// the request's memory.
type Message struct {
	ID      string // Also the broker's message id.
	Subject string
	Body    []byte // JSON.
}

// Publisher stores notifications. Store returns nil only when the message is
// durable. It returns when ctx ends or its own budget for a message is used up,
// at the latest. Its errors wrap one of the Err values of this package where
// they fit.
type Publisher interface {
	Store(ctx context.Context, m Message) error
}

// Why a notification could not be stored.
var (
	// ErrTimeout means that no confirmation came within the budget. The
	// message may be stored all the same.
	ErrTimeout = errors.New("no confirmation in time")
	// ErrDisconnected means that there is no connection to the broker, or that
	// it broke before the confirmation. The message may be stored all the same.
	ErrDisconnected = errors.New("broker is not connected")
	// ErrOverloaded means that so much waits already that this message would
	// not be confirmed in time.
	ErrOverloaded = errors.New("too many notifications wait for the broker")
	// ErrLimited means that the account sends more than its Limit.
	ErrLimited = errors.New("account is over its limit")
	// ErrStoreFailed means that the broker cannot write, because of an error of its
	// disk. Nothing more is stored until the broker is restarted.
	ErrStoreFailed = errors.New("broker cannot write")
	// ErrFull means that the stream or the broker's store is full.
	ErrFull = errors.New("stream is full")
	// ErrMissing means that the stream does not exist, or that nobody leads it.
	ErrMissing = errors.New("stream is missing")
	// ErrUnverified means that the broker has not been looked at, or that it is
	// weaker than what is claimed. The message may be stored all the same.
	ErrUnverified = errors.New("broker is not trusted")
	// ErrTooLarge means that the broker will never take a message of this size.
	ErrTooLarge = errors.New("message is too large for the broker")
)

// errStillStoring means that the stream has the message and has not finished with
// it. It is asked again, so it is nobody's result.
var errStillStoring = errors.New("the message is in process")

// class is the label of a failed store.
func class(err error) string {
	for _, known := range []struct {
		err  error
		name string
	}{
		{ErrStoreFailed, "store_failed"}, {ErrTimeout, "timeout"}, {ErrDisconnected, "disconnected"}, {ErrOverloaded, "overloaded"}, {ErrLimited, "limited"},
		{ErrFull, "full"}, {ErrMissing, "missing"}, {ErrUnverified, "unverified"},
	} {
		if errors.Is(err, known.err) {
			return known.name
		}
	}
	return "other"
}

func classes() []string {
	return []string{"timeout", "disconnected", "overloaded", "limited", "full", "store_failed", "missing", "unverified", "other"}
}

// The broker's error codes that have no name in the client.
const (
	insufficientResources = 10023 // Account or server limit reached.
	memoryExceeded        = 10028
	storageExceeded       = 10047
	streamMismatch        = 10060 // Another stream took the subject.
	storeFailed           = 10077 // With the store's own words: maximum messages or bytes exceeded.
	duplicateInProcess    = 10158 // A message of this id is being replicated.
	batchDisabled         = 10174 // The stream does not allow atomic batches.
)

// classify puts one of this package's errors in front of the client's.
func classify(err error) error {
	if known := sentinel(err); known != nil {
		return fmt.Errorf("%w: %w", known, err)
	}
	return err
}

func sentinel(err error) error {
	for _, known := range []struct{ cause, class error }{
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
			return known.class
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
		return errStillStoring
	case storeFailed:
		if strings.Contains(refused.Description, "maximum") {
			return ErrFull
		}
		return ErrStoreFailed
	}
	return nil
}
