package webhook

import (
	"context"
	"errors"
	"fmt"
)

// Guarded is a publisher that trusts a confirmation only of a broker that was
// looked at. await says why nothing may be stored now, or nil and the number of
// the connection to the broker; it is asked before a message is stored and
// after. A message that is refused then may be stored all the same.
func Guarded(p Publisher, await func(context.Context) (connection uint64, err error)) Publisher {
	return guarded{p, await}
}

type guarded struct {
	Publisher
	await func(context.Context) (uint64, error)
}

var errReplaced = errors.New("the broker was replaced more than once meanwhile")

func (g guarded) Store(ctx context.Context, m Message) error {
	before, err := g.await(ctx)
	if err != nil {
		return fmt.Errorf("store notification: %w", err)
	}
	if err := g.Publisher.Store(ctx, m); err != nil {
		return err
	}
	after, err := g.await(ctx)
	if err == nil && after > before+1 {
		err = errReplaced // Nobody has looked at the one in between.
	}
	if err != nil {
		return fmt.Errorf("trust confirmation: %w", err)
	}
	return nil
}
