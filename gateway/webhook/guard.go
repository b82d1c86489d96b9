package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// DurabilityGate says when a confirmation is trusted. Nothing in it is optional.
type DurabilityGate struct {
	// Await says why nothing may be stored now, or nil and the number of the
	// connection to the broker. It is asked before a message is stored and after.
	Await   func(context.Context) (connection uint64, err error)
	Up      func() bool   // Whether the connection stands.
	Timeout time.Duration // For asking and storing together.
	Queue   int           // Messages that may wait for the broker to be looked at, before they are stored.
}

// RequireDurability is a publisher that trusts a confirmation only of a broker that was
// looked at. A message that is refused after it was stored may be there all the
// same.
func RequireDurability(p Publisher, g DurabilityGate) Publisher {
	return &durableStore{Publisher: p, DurabilityGate: g}
}

type durableStore struct {
	Publisher
	DurabilityGate
	waiting atomic.Int64 // For a look, before they are stored.
}

// over is a context that has ended: with it, await does not wait.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

var errReplaced = errors.New("the broker was replaced more than once meanwhile")

func (g *durableStore) Store(ctx context.Context, m Message) error {
	deadline := time.Now().Add(g.Timeout)
	before, err := g.Await(over)
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
	after, err := g.Await(over)
	if err != nil {
		rest, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		after, err = g.Await(rest)
	}
	if err == nil && after > before+1 {
		err = errReplaced // Nobody has looked at the one in between.
	}
	if err != nil {
		return fmt.Errorf("trust confirmation: %w", g.untrusted(err))
	}
	return nil
}

// wait waits for the broker to be looked at, unless too many do already.
func (g *durableStore) wait(ctx context.Context) (connection uint64, err error) {
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > int64(g.Queue) {
		return 0, ErrOverloaded
	}
	connection, err = g.Await(ctx)
	if err != nil {
		return connection, g.untrusted(err)
	}
	return connection, nil
}

// untrusted puts in front of why a broker is not trusted what that is: there is
// none to look at, or one that was not looked at or is not good enough.
func (g *durableStore) untrusted(err error) error {
	if !g.Up() {
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return fmt.Errorf("%w: %w", ErrUnverified, err)
}
