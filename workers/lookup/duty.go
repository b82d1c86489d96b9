package lookup

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/process"
	"arauto/deploy/runtime/topology"
	"arauto/deploy/runtime/wait"
)

const (
	// wantedEvery is how often a duty without a consumer reads the configuration in use.
	wantedEvery = 500 * time.Millisecond
	// leftoverEvery is how often the consumer of a provider without an account is looked for:
	// another process may know the account already. A guess.
	leftoverEvery = 10 * time.Second
)

// duty is the work on one durable consumer. It begins when the consumer exists: a reload may
// add the first account of a provider before the topology is applied, and what is left of a
// provider that has no account any more is still worked on.
type duty struct {
	kit      *process.Kit
	numbers  *process.ConsumerCollector
	name     process.ConsumerName
	provider string
	work     func(ctx context.Context, c jetstream.Consumer) error // Blocks until ctx ends.

	bound atomic.Pointer[jetstream.Consumer] // Nil until it exists.
}

// actor waits for the consumer and does the work.
func (d *duty) actor() process.Actor {
	return process.Actor{Name: d.name.Consumer, Run: func(ctx context.Context) error {
		if err := d.await(ctx); err != nil {
			return err
		}
		return d.work(ctx, *d.bound.Load())
	}}
}

// wanted reports whether the consumer must exist: its provider has an account.
func (d *duty) wanted() bool { return len(d.kit.Current().AccountNames(d.provider)) > 0 }

// await blocks until the consumer exists. That it is missing is logged, unless its provider has
// no account.
func (d *duty) await(ctx context.Context) error {
	for sought := (time.Time{}); !d.wanted(); {
		if time.Since(sought) >= leftoverEvery {
			sought = time.Now()
			if _, err := d.kit.JS.Consumer(ctx, d.name.Stream, d.name.Consumer); err == nil {
				break
			}
		}
		if !wait.For(ctx, wantedEvery) {
			return ctx.Err()
		}
	}
	d.numbers.Add(d.name, func() bool { return d.wanted() || d.bound.Load() != nil })
	declared := topology.Settings{Providers: []string{d.provider}}
	return topology.Await(ctx, d.kit.JS, declared, d.kit.Log, nil, []string{d.name.Consumer}, func(ctx context.Context) error {
		bound, err := d.kit.JS.Consumer(ctx, d.name.Stream, d.name.Consumer)
		if err != nil {
			return fmt.Errorf("bind consumer %s: %w", d.name.Consumer, err)
		}
		d.bound.Store(&bound)
		return nil
	})
}

// ready returns an error if the consumer must exist and is not there, or cannot be read.
func (d *duty) ready(ctx context.Context) error {
	bound := d.bound.Load()
	if bound == nil {
		if d.wanted() {
			return fmt.Errorf("consumer %s is awaited: if it is missing, run arauto topology apply", d.name.Consumer)
		}
		return nil
	}
	if _, err := (*bound).Info(ctx); err != nil {
		return fmt.Errorf("read consumer: %w", err)
	}
	return nil
}
