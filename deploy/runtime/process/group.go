package process

import (
	"context"
	"errors"
	"fmt"
)

// Actor is one long-lived thing. Run blocks until ctx ends or it cannot go
// on, and leaves nothing behind.
type Actor struct {
	Name string
	Run  func(ctx context.Context) error
}

// Together runs the actors at once and returns when all have returned. The
// first to return, whatever it returns, stops the rest: half a process is
// worse than none, because nobody restarts it. The errors are joined, each
// with its actor's name; context.Canceled after the stop is none.
func Together(ctx context.Context, actors ...Actor) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(actors))
	for _, a := range actors {
		go func() {
			err := a.Run(ctx)
			if err != nil && !(ctx.Err() != nil && errors.Is(err, context.Canceled)) {
				err = fmt.Errorf("run %s: %w", a.Name, err)
			} else {
				err = nil
			}
			cancel()
			results <- err
		}()
	}
	all := make([]error, 0, len(actors))
	for range actors {
		all = append(all, <-results)
	}
	return errors.Join(all...)
}
