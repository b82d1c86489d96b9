// Package stream reads a stream one message at a time, in the order of its
// sequences and from its leader. However long the stream is, one message is in
// memory, no consumer is needed, and a walk can stop and go on anywhere.
package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Each calls visit for every stored message on filter above a sequence, until
// visit wants no more. It returns the sequence up to which all were visited,
// for the next walk to go on from: that of the message that visit refused is
// not among them.
func Each(ctx context.Context, stream jetstream.Stream, filter string, above uint64,
	visit func(*jetstream.RawStreamMsg) (more bool, err error)) (uint64, error) {
	for {
		raw, err := stream.GetMsg(ctx, above+1, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return above, nil
		}
		if err != nil {
			return above, fmt.Errorf("read message above %d: %w", above, err)
		}
		more, err := visit(raw)
		if err != nil || !more {
			return above, err
		}
		above = raw.Sequence
	}
}

// Last reads the newest message on filter, nil when there is none.
func Last(ctx context.Context, stream jetstream.Stream, filter string) (*jetstream.RawStreamMsg, error) {
	raw, err := stream.GetLastMsgForSubject(ctx, filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last message: %w", err)
	}
	return raw, nil
}

// Since is the lowest sequence, at most limit, at or above which every message
// on filter was stored at or after a time. The broker's timestamps rise with the
// sequence, so few messages need to be read.
func Since(ctx context.Context, stream jetstream.Stream, filter string, at time.Time, limit uint64) (uint64, error) {
	low, high := uint64(1), limit
	for low < high {
		middle := low + (high-low)/2
		raw, err := stream.GetMsg(ctx, middle, jetstream.WithGetMsgSubject(filter))
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, fmt.Errorf("read message from %d: %w", middle, err)
		}
		switch {
		case err != nil || raw.Sequence >= high || !raw.Time.Before(at):
			high = middle
		default:
			low = raw.Sequence + 1
		}
	}
	return low, nil
}
