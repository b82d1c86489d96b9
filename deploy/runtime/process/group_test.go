package process

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFirstActorToReturnStopsTheRest(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	for name, c := range map[string]struct {
		first error
		rest  error
		want  string
	}{
		"with an error":    {lost, nil, "run a: lost"},
		"without an error": {nil, nil, ""},
		"both fail":        {lost, errors.New("late"), "late"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stopped := false
			err := Together(t.Context(),
				Actor{"a", func(context.Context) error { return c.first }},
				Actor{"b", func(ctx context.Context) error {
					<-ctx.Done()
					stopped = true
					if c.rest != nil {
						return c.rest
					}
					return ctx.Err()
				}},
			)
			switch {
			case !stopped:
				t.Error("the other actor did not return first")
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("the error is %v, want %q", err, c.want)
			case c.first != nil && !errors.Is(err, lost):
				t.Errorf("%v does not wrap the first error", err)
			}
		})
	}
}

func TestCanceledBeforeTheStopIsAnError(t *testing.T) {
	t.Parallel()
	err := Together(t.Context(), Actor{"a", func(context.Context) error { return context.Canceled }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestActorsStopWithTheirContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wait := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	if err := Together(ctx, Actor{"a", wait}, Actor{"b", wait}); err != nil {
		t.Errorf("the error is %v", err)
	}
}

func TestCleanUpsRunBackwardsAndJoinTheirErrors(t *testing.T) {
	t.Parallel()
	var c cleanups
	var order string
	c.add("a", func(context.Context) error { order += "a"; return errors.New("no") })
	c.add("b", func(context.Context) error { order += "b"; return nil })
	c.add("c", func(context.Context) error { order += "c"; return errors.New("never") })
	err := c.run(longest)
	if order != "cba" || err == nil || err.Error() != "stop c: never\nstop a: no" {
		t.Errorf("ran %s: %v", order, err)
	}
	if err := c.run(longest); err != nil || order != "cba" {
		t.Errorf("a second run did %s: %v", order, err)
	}
}

func TestCleanUpIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c cleanups
		ran := false
		release := make(chan struct{})
		defer close(release)
		c.add("last", func(context.Context) error { ran = true; return nil })
		c.add("deaf", func(context.Context) error { <-release; return nil })
		c.add("polite", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		begun := time.Now()
		err := c.run(time.Minute)
		if took := time.Since(begun); took != 2*time.Minute || !ran {
			t.Errorf("it took %v, the last one ran: %v", took, ran)
		}
		if err == nil || !strings.Contains(err.Error(), "stop deaf: it has not returned within 1m0s") || !strings.Contains(err.Error(), "stop polite: ") {
			t.Errorf("the error is %v", err)
		}
	})
}
