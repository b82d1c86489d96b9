package retry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrFull means that scheduled look-ups take as many bytes as they may.
var ErrFull = errors.New("too many look-ups are scheduled already")

// LOOKUP_RETRIES has no MaxBytes, because schedules force Discard Old (nats-server
// 2.15.3, server/stream.go, checkStreamCfgLocked), and a full store stops every stream. So no
// more look-ups are scheduled above a percentage of the bytes that the other streams
// leave; a guess. Payments that the provider has known may use more: an attacker cannot
// invent those. Before this may go, check that a stream with schedules may discard new
// messages.
const (
	LimitForAll   Share = 80
	LimitForKnown Share = 95 // The share for a payment that the provider has known.
)

// Share is a percentage of the bytes that scheduled look-ups may take.
type Share int64

// usage is how many bytes LOOKUP_RETRIES takes, read at most once per interval.
type usage struct {
	limit int64 // Bytes; 0 for no limit.
	every time.Duration

	mu    sync.Mutex
	bytes uint64
	next  time.Time // When bytes is read again.
}

// SetLimit bounds the scheduled look-ups to so many bytes; their size is read once
// per interval. It must be called before the store is used by other goroutines.
func (l *Store) SetLimit(limit int64, every time.Duration) {
	l.usage = &usage{limit: limit, every: every}
}

// CheckLimit returns ErrFull if the scheduled look-ups take more than a share of
// their limit. It may be called for each look-up, because the broker is read once
// per interval. A reading that fails refuses nothing.
func (l *Store) CheckLimit(ctx context.Context, s Share) error {
	f := l.usage
	if f == nil || f.limit <= 0 {
		return nil
	}
	if most, bytes := f.limit*int64(s)/100, l.scheduledBytes(ctx); bytes > uint64(most) {
		return fmt.Errorf("%w: %d bytes of at most %d", ErrFull, bytes, most)
	}
	return nil
}

// scheduledBytes returns the last reading. One caller reads from the broker while
// the others wait for it.
func (l *Store) scheduledBytes(ctx context.Context) uint64 {
	f := l.usage
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
