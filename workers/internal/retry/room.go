package retry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrFull means that what is parked takes as much of the store as it may.
var ErrFull = errors.New("too much is parked already")

// LOOKUP_RETRIES has no bound of its own, and what fills the store stops every
// stream. So parking ends at a percentage of the room that the other streams
// leave. What is kept for payments that the provider has known goes on a little
// longer: there are only so many of these, and a stranger cannot make more.
const (
	RoomForAll   Share = 80
	RoomForKnown Share = 95 // Of a payment that the provider has known.
)

// Share is a percentage of the room for what is parked.
type Share int64

// fill is how many bytes are parked, read at most once per interval.
type fill struct {
	room  int64 // 0 for no bound.
	every time.Duration

	mu    sync.Mutex
	bytes uint64
	next  time.Time // When it is read again.
}

// SetLimit gives the lot so many bytes, and says for how long a reading of what it
// takes of them is good. It must be called before the lot is used.
func (l *Store) SetLimit(room int64, every time.Duration) { l.fill = &fill{room: room, every: every} }

// CheckLimit is ErrFull when a look-up should not be parked, because what is parked takes
// more than a share of the room. The broker is asked now and then only, so that
// callers may ask for each look-up; a reading that fails stands in nobody's way.
func (l *Store) CheckLimit(ctx context.Context, s Share) error {
	f := l.fill
	if f == nil || f.room <= 0 {
		return nil
	}
	if most, bytes := f.room*int64(s)/100, l.scheduledBytes(ctx); bytes > uint64(most) {
		return fmt.Errorf("%w: %d bytes of at most %d", ErrFull, bytes, most)
	}
	return nil
}

// scheduledBytes is how many bytes were parked at the last reading. One caller reads,
// the others wait for it.
func (l *Store) scheduledBytes(ctx context.Context) uint64 {
	f := l.fill
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); !now.Before(f.next) {
		if info, err := l.stream.Info(ctx); err == nil {
			f.bytes = info.State.Bytes
		}
		f.next = now.Add(f.every)
	}
	return f.bytes
}
