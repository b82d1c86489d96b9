// Package hold lets a role rest while an operator holds the deployment, so that what the
// streams say of each other stays as it is while they are copied. The hold is kept by the
// broker: it is the pause of every durable consumer, and it ends at a time that the operator
// has named. What a message makes a worker do ends with the pause by itself; what a role does
// unasked, in rounds, passes a Gate.
package hold

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// readAgain is for how long a Gate believes what it has read for Limit. A guess: an
// operator waits so much longer for a hold.
const readAgain = time.Second

// Gate holds the rounds of a role back while the role's durable consumer is paused. A role at
// rest pulls no messages, by which arauto hold sees that it rests.
type Gate struct {
	consumer jetstream.Consumer

	rounds sync.RWMutex // Read-held by each round.
	known  atomic.Pointer[seen]
}

// seen is whether the consumer was paused, and when that was read.
type seen struct {
	held bool
	at   time.Time
}

// NewGate returns the Gate of a role by its durable consumer.
func NewGate(consumer jetstream.Consumer) *Gate { return &Gate{consumer: consumer} }

// Round calls do, unless the deployment is held. It reads that from the broker each time.
func (g *Gate) Round(ctx context.Context, do func(context.Context) error) error {
	if last := g.known.Load(); last != nil && last.held {
		// Not as a round that runs: Limit must not find work in a role that only reads.
		if held, err := g.read(ctx); err != nil || held {
			return err
		}
	}
	g.rounds.RLock()
	defer g.rounds.RUnlock()
	held, err := g.read(ctx)
	if err != nil || held {
		return err
	}
	return do(ctx)
}

// read asks the broker whether the consumer is paused.
func (g *Gate) read(ctx context.Context) (held bool, err error) {
	info, err := g.consumer.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("read whether the deployment is held: %w", err)
	}
	g.known.Store(&seen{info.Paused, time.Now()})
	return info.Paused, nil
}

// Limit is a limit of consume.Options: nothing while the deployment is held and no round
// runs, else want. If the broker does not answer, what it said last counts. A consumer that is
// gone holds nothing: the role must pull to notice it.
func (g *Gate) Limit(want int) int {
	last := g.known.Load()
	if last == nil || time.Since(last.at) > readAgain {
		ctx, cancel := context.WithTimeout(context.Background(), readAgain)
		defer cancel()
		switch _, err := g.read(ctx); {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			return want
		case err == nil:
			last = g.known.Load()
		}
	}
	if last == nil || !last.held || !g.rounds.TryLock() {
		return want
	}
	g.rounds.Unlock()
	return 0
}
