package process

import (
	"context"
	"errors"
	"fmt"
)

// Actor is one long-running task. Run blocks until ctx ends or it cannot go on, and leaves
// no goroutine running.
type Actor struct {
	Name string
	Run  func(ctx context.Context) error
}

// Together runs the actors at once and returns when all have returned. The first to return,
// with or without an error, stops the others, because an orchestrator restarts only a
// process that has ended. The errors are joined, each with its actor's name;
// context.Canceled after the stop is no error.
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
