package publish_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"arauto/deploy/runtime/commit"
	"arauto/gateway/publish"
)

// countingPublisher counts messages and returns err for each.
type countingPublisher struct {
	stored   int
	err      error
	deadline time.Time // Of the context of the last message.
}

func (c *countingPublisher) Store(ctx context.Context, _ publish.Message) error {
	c.stored++
	c.deadline, _ = ctx.Deadline()
	return c.err
}

func gate(queue int, timeout time.Duration, await func(context.Context) (uint64, error)) publish.DurabilityGate {
	return publish.DurabilityGate{Await: await, Up: func() bool { return true }, Timeout: timeout, QueueLimit: queue}
}

func TestDisconnectedBrokerIsNotUnverified(t *testing.T) {
	t.Parallel()
	g := gate(1, time.Second, func(context.Context) (uint64, error) { return 0, errors.New("not verified") })
	for up, want := range map[bool]error{true: publish.ErrUnverified, false: commit.ErrDisconnected} {
		g.Up = func() bool { return up }
		err := publish.RequireDurability(&countingPublisher{}, g).Store(t.Context(), publish.Message{})
		if errors.Is(err, publish.ErrUnverified) != up || !errors.Is(err, want) {
			t.Errorf("up is %t, and the error %v", up, err)
		}
	}
}

func TestAckCountsOnlyFromAVerifiedBroker(t *testing.T) {
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
		"the same broker":      {answer{3, nil}, answer{3, nil}, nil, true, 1},
		"the next connection":  {answer{3, nil}, answer{4, nil}, nil, true, 1},
		"a connection between": {answer{3, nil}, answer{5, nil}, nil, false, 1},
		"weak before":          {answer{3, weak}, answer{3, nil}, nil, false, 0},
		"weak after":           {answer{3, nil}, answer{3, weak}, nil, false, 1},
		"weak next one":        {answer{3, nil}, answer{4, weak}, nil, false, 1},
		"store fails":          {answer{3, nil}, answer{3, nil}, away, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, answers := &countingPublisher{err: c.store}, []answer{c.before, c.after}
			verified := publish.RequireDurability(p, gate(1, time.Second, func(ctx context.Context) (uint64, error) {
				next := answers[0]
				if next.err == nil || ctx.Err() == nil { // An error is followed by a call that waits.
					answers = answers[1:]
				}
				return next.connection, next.err
			}))
			err := verified.Store(t.Context(), publish.Message{})
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

func TestVerificationAndStoringShareOneTimeout(t *testing.T) {
	t.Parallel()
	const timeout = time.Minute
	var deadlines []time.Time
	p := &countingPublisher{}
	verified := publish.RequireDurability(p, gate(1, timeout, func(ctx context.Context) (uint64, error) {
		if ctx.Err() != nil {
			return 0, errors.New("not verified yet")
		}
		end, _ := ctx.Deadline()
		deadlines = append(deadlines, end)
		return 1, nil
	}))
	latest := time.Now().Add(timeout)
	if err := verified.Store(t.Context(), publish.Message{}); err != nil {
		t.Fatal(err)
	}
	if len(deadlines) != 2 || deadlines[0].Sub(latest) > time.Second || !deadlines[1].Equal(deadlines[0]) || !p.deadline.Equal(deadlines[0]) {
		t.Errorf("verification ends at %v, storing at %v, want one deadline near %v", deadlines, p.deadline, latest)
	}
}

func TestVerificationQueueIsBounded(t *testing.T) {
	t.Parallel()
	const queue = 10
	p, waits, verify := &countingPublisher{}, make(chan struct{}, queue), make(chan struct{})
	weak := errors.New("weak")
	verified := publish.RequireDurability(p, gate(queue, time.Minute, func(ctx context.Context) (uint64, error) {
		if ctx.Err() == nil {
			waits <- struct{}{}
			<-verify
		}
		return 0, weak
	}))
	results := make(chan error, queue)
	for range queue {
		go func() { results <- verified.Store(t.Context(), publish.Message{}) }()
		<-waits
	}
	if err := verified.Store(t.Context(), publish.Message{}); !errors.Is(err, commit.ErrOverloaded) {
		t.Errorf("one too many: %v", err)
	}
	close(verify)
	for range queue {
		if err := <-results; !errors.Is(err, publish.ErrUnverified) || !errors.Is(err, weak) {
			t.Errorf("a queued message: %v", err)
		}
	}
	if err := verified.Store(t.Context(), publish.Message{}); errors.Is(err, commit.ErrOverloaded) {
		t.Errorf("after the queue is empty: %v", err)
	}
	if p.stored != 0 {
		t.Errorf("%d were stored on a broker that is weak", p.stored)
	}
}
