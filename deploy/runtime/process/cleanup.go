package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// cleanups is a named stack: what was built last is taken down first.
type cleanups struct {
	mu   sync.Mutex
	list []cleanup
}

type cleanup struct {
	name string
	run  func(context.Context) error
}

func (c *cleanups) add(name string, run func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, cleanup{name: name, run: run})
}

// run empties the stack. One clean-up that fails or hangs does not keep the
// others from running.
func (c *cleanups) run(limit time.Duration) error {
	c.mu.Lock()
	list := slices.Clone(c.list)
	c.list = nil
	c.mu.Unlock()
	var all []error
	for _, one := range slices.Backward(list) {
		if err := one.bounded(limit); err != nil {
			all = append(all, fmt.Errorf("stop %s: %w", one.name, err))
		}
	}
	return errors.Join(all...)
}

// bounded abandons a clean-up that ignores its context: the process is about
// to end, and a stuck one must not make an orchestrator kill it.
func (c cleanup) bounded(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select { // It may have noticed the deadline by itself.
	case err := <-done:
		return err
	default:
		return fmt.Errorf("it has not returned within %v", limit)
	}
}
