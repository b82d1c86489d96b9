package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/subject"
)

const (
	// leastRoom is how many bytes of NOTIFICATIONS must be free for a publisher to be
	// ready: some fifty notifications of the usual size, or a large one. A guess.
	leastRoom = 64 << 10
	// fullFor is how long a refusal for want of room counts where nothing was stored
	// since. A publisher that gets no webhooks, because it is not ready, must not be so
	// for ever. A guess.
	fullFor = time.Minute
)

// streamFull knows when the broker last refused a notification for want of room. It is
// zero when one was stored since.
type streamFull struct{ since atomic.Int64 } // Nanoseconds since 1970.

// note takes the result of a store.
func (f *streamFull) note(err error) {
	switch {
	case errors.Is(err, ErrFull):
		f.since.Store(time.Now().UnixNano())
	case err == nil && f.since.Load() != 0:
		f.since.Store(0)
	}
}

// recent reports whether the last notification was refused for want of room, lately.
func (f *streamFull) recent() bool {
	since := f.since.Load()
	return since != 0 && time.Since(time.Unix(0, since)) < fullFor
}

// Ready says why a notification could not be stored now, or nil: the broker is
// connected, the stream exists, and there is room.
func (p *Committer) Ready(ctx context.Context) error {
	if !p.nc.IsConnected() {
		return ErrDisconnected
	}
	stream, err := p.js.Stream(ctx, subject.Notifications)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", subject.Notifications, classify(err))
	}
	if err := checkFull(stream.CachedInfo()); err != nil {
		return err
	}
	if p.fullness.recent() {
		return fmt.Errorf("%w: the broker has just refused a notification of %s for want of room, so webhooks get 503", ErrFull, subject.Notifications)
	}
	return nil
}

// checkFull says that a stream has no room, nil while it has.
func checkFull(info *jetstream.StreamInfo) error {
	most := info.Config.MaxBytes
	if most <= 0 || info.State.Bytes+leastRoom <= uint64(most) {
		return nil
	}
	return fmt.Errorf("%w: %s has %d of %d bytes, so webhooks get 503 until it has room", ErrFull, info.Config.Name, info.State.Bytes, most)
}
