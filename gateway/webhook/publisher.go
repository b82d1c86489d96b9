package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

// Message is one notification on its way to the stream. Nothing in it aliases
// the request's memory.
type Message struct {
	ID      string // Also the broker's message id.
	Subject string
	Trace   string // W3C traceparent.
	Body    []byte // JSON.
}

// Publisher stores notifications. Store returns nil only when the message is
// durable, and returns when ctx ends at the latest. Its errors wrap one of
// the Err values of this package where they fit.
type Publisher interface {
	Store(ctx context.Context, m Message) error
}

// Why a notification could not be stored.
var (
	// ErrTimeout means that no confirmation came within the budget. The
	// message may be stored all the same.
	ErrTimeout = errors.New("no confirmation in time")
	// ErrDisconnected means that there is no connection to the broker, or that
	// it broke before the confirmation.
	ErrDisconnected = errors.New("broker is not connected")
	// ErrFull means that the stream or the broker's store is full.
	ErrFull = errors.New("stream is full")
	// ErrMissing means that the stream does not exist, or that nobody leads it.
	ErrMissing = errors.New("stream is missing")
	// ErrTooLarge means that the broker will never take a message of this size.
	ErrTooLarge = errors.New("message is too large for the broker")
)

// class is the label of a failed store.
func class(err error) string {
	switch {
	case errors.Is(err, ErrTimeout):
		return "timeout"
	case errors.Is(err, ErrDisconnected):
		return "disconnected"
	case errors.Is(err, ErrFull):
		return "full"
	case errors.Is(err, ErrMissing):
		return "missing"
	}
	return "other"
}

func classes() []string { return []string{"timeout", "disconnected", "full", "missing", "other"} }

// maxPending is how many messages may wait for their confirmation at once.
// Past it the broker is far behind, and refusing is better than queueing.
const maxPending = 4096

// JetStreamPublisher stores notifications on the NOTIFICATIONS stream.
type JetStreamPublisher struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	stall time.Duration
}

// NewPublisher returns a publisher on nc, which must have been made with
// nats.ReconnectBufSize(-1): a buffered message would be confirmed by nobody.
// No confirmation is awaited for longer than budget.
func NewPublisher(nc *nats.Conn, budget time.Duration) (*JetStreamPublisher, error) {
	js, err := jetstream.New(nc,
		jetstream.WithPublishAsyncTimeout(budget), jetstream.WithPublishAsyncMaxPending(maxPending))
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	return &JetStreamPublisher{nc: nc, js: js, stall: max(budget/4, time.Millisecond)}, nil
}

// Store publishes m and waits for the stream's confirmation.
func (p *JetStreamPublisher) Store(ctx context.Context, m Message) error {
	if !p.nc.IsConnected() {
		return fmt.Errorf("store notification: %w", ErrDisconnected)
	}
	// No retry on a missing stream: the client's pause would eat the budget,
	// and the provider's own retry is more patient than we are.
	future, err := p.js.PublishMsgAsync(&nats.Msg{
		Subject: m.Subject,
		Data:    m.Body,
		Header:  nats.Header{"Content-Type": {"application/json"}, "traceparent": {m.Trace}},
	}, jetstream.WithMsgID(m.ID), jetstream.WithExpectStream(subject.Notifications),
		jetstream.WithRetryAttempts(0), jetstream.WithStallWait(p.stall))
	if err != nil {
		return fmt.Errorf("store notification: %w", classify(err))
	}
	select {
	case <-future.Ok():
		return nil
	case err := <-future.Err():
		return fmt.Errorf("store notification: %w", classify(err))
	case <-ctx.Done():
		return fmt.Errorf("store notification: %w", ErrTimeout)
	}
}

// Ready says why a notification could not be stored now, or nil: the broker
// is connected and the stream exists.
func (p *JetStreamPublisher) Ready(ctx context.Context) error {
	if !p.nc.IsConnected() {
		return ErrDisconnected
	}
	if _, err := p.js.Stream(ctx, subject.Notifications); err != nil {
		return fmt.Errorf("read stream %s: %w", subject.Notifications, classify(err))
	}
	return nil
}

// The broker's error codes that have no name in the client.
const (
	insufficientResources = 10023 // Account or server limit reached.
	memoryExceeded        = 10028
	storageExceeded       = 10047
	streamMismatch        = 10060 // Another stream took the subject.
	storeFailed           = 10077 // With the store's own words: maximum messages or bytes exceeded.
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
		{jetstream.ErrAsyncPublishTimeout, ErrTimeout},
		{jetstream.ErrTooManyStalledMsgs, ErrTimeout},
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
	case storeFailed:
		if strings.Contains(refused.Description, "maximum") {
			return ErrFull
		}
	}
	return nil
}
