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
// 2.15.3, server/stream.go, checkStreamCfgLocked), and a full store stops every stream. So
// the look-ups have a percentage, a guess, of the bytes that the other streams leave. Before
// this may go, check that a stream with schedules may discard new messages.
const (
	LimitForAll      Share = 80
	LimitForKnown    Share = 95 // The share for a payment that the provider has known: an attacker cannot invent those.
	LimitForExpected Share = 40 // The share while which a payment is looked up because it is expected: webhooks keep the rest.
)

// Share is a percentage of the bytes that scheduled look-ups may take.
type Share int64

// usage is how many bytes LOOKUP_RETRIES takes, read at most once per interval.
type usage struct {
	limit int64 // Bytes; 0 for no limit.
	every time.Duration

	mu    sync.Mutex // Held while the broker is read, for which other callers wait.
	bytes uint64
	next  time.Time // When bytes is read again.
}

// SetLimit bounds the scheduled look-ups to so many bytes; their size is read once
// per interval. It must be called before the store is used by other goroutines.
func (l *Store) SetLimit(limit int64, every time.Duration) {
	l.usage.limit, l.usage.every, l.usage.next = limit, every, time.Time{}
}

// CheckLimit returns ErrFull if the scheduled look-ups take more than a share of
// their limit. It may be called for each look-up, because the broker is read once
// per interval. A reading that fails refuses nothing.
func (l *Store) CheckLimit(ctx context.Context, s Share) error {
	u := &l.usage
	if u.limit <= 0 {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := time.Now(); !now.Before(u.next) {
		if info, err := l.stream.Info(ctx); err == nil {
			u.bytes = info.State.Bytes
		}
		u.next = now.Add(u.every)
	}
	if most := u.limit * int64(s) / 100; u.bytes > uint64(most) {
		return fmt.Errorf("%w: %d bytes of at most %d", ErrFull, u.bytes, most)
	}
	return nil
}
