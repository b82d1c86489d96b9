package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Guarded is a publisher that trusts a confirmation only of a broker that was
// looked at. await says why nothing may be stored now, or nil and the number of
// the connection to the broker; it is asked before a message is stored and
// after. Asking and storing take budget together, at the most. No more than queue
// messages wait for the broker to be looked at before they are stored. A message
// that is refused after it was stored may be there all the same.
func Guarded(p Publisher, queue int, budget time.Duration, await func(context.Context) (connection uint64, err error)) Publisher {
	return &guarded{Publisher: p, queue: int64(queue), budget: budget, await: await}
}

type guarded struct {
	Publisher
	queue   int64
	budget  time.Duration
	await   func(context.Context) (uint64, error)
	waiting atomic.Int64 // For a look, before they are stored.
}

// over is a context that has ended: with it, await does not wait.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

var errReplaced = errors.New("the broker was replaced more than once meanwhile")

func (g *guarded) Store(ctx context.Context, m Message) error {
	deadline := time.Now().Add(g.budget)
	before, err := g.await(over)
	if err != nil { // It is worth a deadline only where there is something to wait for.
		rest, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		ctx = rest // The publisher has what is left.
		before, err = g.wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("store notification: %w", err)
	}
	if err := g.Publisher.Store(ctx, m); err != nil {
		return err
	}
	after, err := g.await(over)
	if err != nil {
		rest, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		after, err = g.await(rest)
	}
	if err == nil && after > before+1 {
		err = errReplaced // Nobody has looked at the one in between.
	}
	if err != nil {
		return fmt.Errorf("trust confirmation: %w: %w", ErrUnverified, err)
	}
	return nil
}

// wait waits for the broker to be looked at, unless too many do already.
func (g *guarded) wait(ctx context.Context) (connection uint64, err error) {
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > g.queue {
		return 0, ErrOverloaded
	}
	connection, err = g.await(ctx)
	if err != nil {
		return connection, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	return connection, nil
}
