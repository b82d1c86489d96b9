package webhook_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"arauto/gateway/webhook"
)

// counted is a publisher that confirms, or not, and counts.
type counted struct {
	stored int
	err    error
	until  time.Time // When the caller's time for the last message was up.
}

func (c *counted) Store(ctx context.Context, _ webhook.Message) error {
	c.stored++
	c.until, _ = ctx.Deadline()
	return c.err
}

func guard(queue int, budget time.Duration, await func(context.Context) (uint64, error)) webhook.DurabilityGate {
	return webhook.DurabilityGate{Await: await, Up: func() bool { return true }, Timeout: budget, Queue: queue}
}

func TestBrokerThatIsAwayIsNotCalledUntrusted(t *testing.T) {
	t.Parallel()
	g := guard(1, time.Second, func(context.Context) (uint64, error) { return 0, errors.New("nobody has looked") })
	for up, want := range map[bool]error{true: webhook.ErrUnverified, false: webhook.ErrDisconnected} {
		g.Up = func() bool { return up }
		err := webhook.RequireDurability(&counted{}, g).Store(t.Context(), webhook.Message{})
		if errors.Is(err, webhook.ErrUnverified) != up || !errors.Is(err, want) {
			t.Errorf("up is %t, and the error %v", up, err)
		}
	}
}

func TestConfirmationCountsOnlyFromABrokerThatWasLookedAt(t *testing.T) {
	t.Parallel()
	weak, away := errors.New("weak"), errors.New("away")
	type answer struct {
		connection uint64
		err        error
	}
	for name, c := range map[string]struct {
		before, after answer
		store         error
		confirmed     bool
		stored        int
	}{
		"the same broker": {answer{3, nil}, answer{3, nil}, nil, true, 1},
		"its successor":   {answer{3, nil}, answer{4, nil}, nil, true, 1},
		"one in between":  {answer{3, nil}, answer{5, nil}, nil, false, 1},
		"weak before":     {answer{3, weak}, answer{3, nil}, nil, false, 0},
		"weak after":      {answer{3, nil}, answer{3, weak}, nil, false, 1},
		"weak successor":  {answer{3, nil}, answer{4, weak}, nil, false, 1},
		"store fails":     {answer{3, nil}, answer{3, nil}, away, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, answers := &counted{err: c.store}, []answer{c.before, c.after}
			guarded := webhook.RequireDurability(p, guard(1, time.Second, func(ctx context.Context) (uint64, error) {
				next := answers[0]
				if next.err == nil || ctx.Err() == nil { // A refusal is asked about again, with time to wait.
					answers = answers[1:]
				}
				return next.connection, next.err
			}))
			err := guarded.Store(t.Context(), webhook.Message{})
			if (err == nil) != c.confirmed || p.stored != c.stored {
				t.Errorf("stored %d times, error %v", p.stored, err)
			}
			for _, cause := range []error{c.before.err, c.store, c.after.err} {
				if cause != nil && !errors.Is(err, cause) {
					t.Errorf("%v does not wrap %v", err, cause)
				}
			}
		})
	}
}

func TestLookingAndStoringHaveOneBudgetTogether(t *testing.T) {
	t.Parallel()
	const budget = time.Minute
	var until []time.Time
	p := &counted{}
	guarded := webhook.RequireDurability(p, guard(1, budget, func(ctx context.Context) (uint64, error) {
		if ctx.Err() != nil {
			return 0, errors.New("nobody has looked yet")
		}
		end, _ := ctx.Deadline()
		until = append(until, end)
		return 1, nil
	}))
	latest := time.Now().Add(budget)
	if err := guarded.Store(t.Context(), webhook.Message{}); err != nil {
		t.Fatal(err)
	}
	if len(until) != 2 || until[0].Sub(latest) > time.Second || !until[1].Equal(until[0]) || !p.until.Equal(until[0]) {
		t.Errorf("looks until %v, storing until %v, want one moment near %v", until, p.until, latest)
	}
}

func TestNoMoreThanTheQueueWaitForALook(t *testing.T) {
	t.Parallel()
	const queue = 10
	p, waits, look := &counted{}, make(chan struct{}, queue), make(chan struct{})
	weak := errors.New("weak")
	guarded := webhook.RequireDurability(p, guard(queue, time.Minute, func(ctx context.Context) (uint64, error) {
		if ctx.Err() == nil {
			waits <- struct{}{}
			<-look
		}
		return 0, weak
	}))
	results := make(chan error, queue)
	for range queue {
		go func() { results <- guarded.Store(t.Context(), webhook.Message{}) }()
		<-waits
	}
	if err := guarded.Store(t.Context(), webhook.Message{}); !errors.Is(err, webhook.ErrOverloaded) {
		t.Errorf("one too many: %v", err)
	}
	close(look)
	for range queue {
		if err := <-results; !errors.Is(err, webhook.ErrUnverified) || !errors.Is(err, weak) {
			t.Errorf("one that waited: %v", err)
		}
	}
	if err := guarded.Store(t.Context(), webhook.Message{}); errors.Is(err, webhook.ErrOverloaded) {
		t.Errorf("when all have gone: %v", err)
	}
	if p.stored != 0 {
		t.Errorf("%d were stored on a broker that is weak", p.stored)
	}
}
