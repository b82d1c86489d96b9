package publish

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/commit"
	"arauto/schemas/subject"
)

const (
	// minFreeBytes is how much room NOTIFICATIONS must have for Notifications to be ready:
	// about 50 notifications of the usual size, or a large one. A guess.
	minFreeBytes = 64 << 10
	// fullFor is how long commit.ErrFull keeps Notifications from being ready if nothing is
	// stored after it. It ends, because a gateway that is not ready may get no webhook
	// that would show that there is room again. A guess.
	fullFor = time.Minute
)

// fullness is the time of the last commit.ErrFull, zero once a later message was stored.
type fullness struct{ since atomic.Int64 } // Unix time in nanoseconds.

// observe takes the result of a Store.
func (f *fullness) observe(err error) {
	switch {
	case errors.Is(err, commit.ErrFull):
		f.since.Store(time.Now().UnixNano())
	case err == nil && f.since.Load() != 0:
		f.since.Store(0)
	}
}

// recent reports whether commit.ErrFull is the latest known state and younger than fullFor.
func (f *fullness) recent() bool {
	since := f.since.Load()
	return since != 0 && time.Since(time.Unix(0, since)) < fullFor
}

// Ready returns why a notification could not be stored now, nil if the broker is
// connected, the stream exists and has room. It asks the broker about the stream.
func (n *Notifications) Ready(ctx context.Context) error {
	if !n.nc.IsConnected() {
		return commit.ErrDisconnected
	}
	stream, err := n.js.Stream(ctx, subject.Notifications)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", subject.Notifications, commit.Classify(err))
	}
	if err := checkRoom(stream.CachedInfo()); err != nil {
		return err
	}
	if n.full.recent() {
		return fmt.Errorf("%w: the broker has just refused a notification of %s for want of room, so webhooks get 503", commit.ErrFull, subject.Notifications)
	}
	return nil
}

// checkRoom returns commit.ErrFull for a stream that has less than minFreeBytes left.
func checkRoom(info *jetstream.StreamInfo) error {
	most := info.Config.MaxBytes
	if most <= 0 || info.State.Bytes+minFreeBytes <= uint64(most) {
		return nil
	}
	return fmt.Errorf("%w: %s has %d of %d bytes, so webhooks get 503 until it has room", commit.ErrFull, info.Config.Name, info.State.Bytes, most)
}
