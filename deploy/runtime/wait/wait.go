// Package wait waits for a time that a context can cut short.
package wait

import (
	"context"
	"time"
)

// For waits for d, and reports whether it has passed. It returns false at once
// when ctx ends, also when ctx has ended before.
func For(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
