package publish

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"arauto/deploy/runtime/commit"
)

// DurabilityGate says whether the broker meets the durability requirement. Every field
// is required.
type DurabilityGate struct {
	// Await waits until the broker is verified or ctx ends. It returns why nothing may
	// be stored, or nil and the number of the connection that was verified. Numbers
	// grow by one with each connection.
	Await      func(context.Context) (connection uint64, err error)
	Up         func() bool   // Whether the broker is connected.
	Timeout    time.Duration // The publish timeout, for verification and storing together.
	QueueLimit int           // Messages that may wait for the verification; more are shed.
}

// RequireDurability returns a Publisher that stores by p, and confirms a message only if
// the broker was verified before and after. An unverified message may be stored.
func RequireDurability(p Publisher, g DurabilityGate) Publisher {
	return &verifiedPublisher{Publisher: p, DurabilityGate: g}
}

type verifiedPublisher struct {
	Publisher
	DurabilityGate
	waiting atomic.Int64 // Messages that wait for the verification before they are stored.
}

// noWait is a context that has ended: Await returns at once with it.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// errReplaced means that a connection between storing and verification was never
// verified: the ack may be from a broker that does not meet the requirement.
var errReplaced = errors.New("the broker was replaced more than once meanwhile")

func (v *verifiedPublisher) Store(ctx context.Context, m Message) error {
	deadline := time.Now().Add(v.Timeout)
	before, err := v.Await(noWait)
	if err != nil { // The usual case needs no timer: a context with a deadline is made only to wait.
		rest, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		ctx = rest // Storing has the time that is left.
		before, err = v.wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("store notification: %w", err)
	}
	if err := v.Publisher.Store(ctx, m); err != nil {
		return err
	}
	after, err := v.Await(noWait)
	if err != nil {
		rest, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		after, err = v.Await(rest)
	}
	if err == nil && after > before+1 {
		err = errReplaced
	}
	if err != nil {
		return fmt.Errorf("trust confirmation: %w", v.classify(err))
	}
	return nil
}

// wait waits for the verification, unless QueueLimit messages already do.
func (v *verifiedPublisher) wait(ctx context.Context) (connection uint64, err error) {
	defer v.waiting.Add(-1)
	if v.waiting.Add(1) > int64(v.QueueLimit) {
		return 0, commit.ErrOverloaded
	}
	connection, err = v.Await(ctx)
	if err != nil {
		return connection, v.classify(err)
	}
	return connection, nil
}

// classify wraps an error of Await: without a connection there is no broker to verify.
func (v *verifiedPublisher) classify(err error) error {
	if !v.Up() {
		return fmt.Errorf("%w: %w", commit.ErrDisconnected, err)
	}
	return fmt.Errorf("%w: %w", ErrUnverified, err)
}
