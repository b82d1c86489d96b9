package consume_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// hold is a handler that signals its begin and waits for its release.
type hold struct {
	began   chan string
	release chan struct{}
}

func newHold() *hold { return &hold{began: make(chan string, 100), release: make(chan struct{})} }

func (h *hold) handle(ctx context.Context, m jetstream.Msg) error {
	h.began <- m.Subject()
	select {
	case <-h.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestStopReturnsQueuedMessagesAtOnce(t *testing.T) {
	t.Parallel()
	for name, subjects := range map[string][]string{
		"behind the same payment": {"a", "a", "a", "a"},
		"waiting for a slot":      {"a", "b", "c", "d"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t, never)
			r.publish(subjects...)
			h := newHold()
			w := r.start(r.options(1), h.handle)
			receive(r, h.began, 1)
			r.Until("one waits", func() bool { return r.info().NumAckPending == 2 })
			w.stop()
			handled := make(chan string, 4)
			other := r.start(r.options(1), func(_ context.Context, m jetstream.Msg) error {
				handled <- m.Subject()
				return nil
			})
			receive(r, handled, 3) // While the first worker still holds the fourth.
			close(h.release)
			if err := w.wait(); err != nil {
				t.Errorf("a stop gave %v", err)
			}
			other.end()
			r.checkDone()
		})
	}
}

func TestRunningHandlersFinishWithinTheGrace(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish("a", "b")
	h := newHold()
	w := r.start(r.options(2), h.handle)
	receive(r, h.began, 2)
	w.stop()
	select {
	case err := <-w.done:
		t.Fatalf("Run returned %v before its handlers", err)
	case h.release <- struct{}{}:
	}
	close(h.release)
	if err := w.wait(); err != nil {
		t.Errorf("a stop gave %v", err)
	}
	r.checkDone()
	r.results(map[string]int{"done": 2})
}

func TestHandlersAreCancelledAfterTheGrace(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish("a")
	o := r.options(1)
	o.Grace = 20 * time.Millisecond
	h := newHold()
	w := r.start(o, h.handle)
	receive(r, h.began, 1)
	w.end()
	r.results(map[string]int{"interrupted": 1})
	handled := make(chan string, 1)
	other := r.start(r.options(1), func(_ context.Context, m jetstream.Msg) error {
		handled <- m.Subject()
		return nil
	})
	receive(r, handled, 1)
	other.end()
	r.checkDone()
}

func TestStopBeforeStartPullsNothing(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish("a")
	ctx, stop := context.WithCancel(r.Ctx)
	stop()
	r.Ctx, ctx = ctx, r.Ctx
	w := r.start(r.options(1), func(context.Context, jetstream.Msg) error {
		t.Error("a message was handled")
		return nil
	})
	r.Ctx = ctx
	if err := w.wait(); err != nil {
		t.Errorf("a stop gave %v", err)
	}
}

func TestWorkerSurvivesBrokerRestart(t *testing.T) {
	t.Parallel()
	r := setup(t, 2*time.Second)
	const half = 100
	r.publish(many(half/4, "a", "b", "c", "d")...)
	seen := newLedger()
	middle := make(chan struct{}, 2*half)
	w := r.start(r.options(4), func(_ context.Context, m jetstream.Msg) error {
		middle <- struct{}{}
		return seen.note(m)
	})
	receive(r, middle, half/3)
	r.Stop()
	r.Restart()
	r.Until("the broker is back", func() bool {
		ctx, cancel := context.WithTimeout(r.Ctx, time.Second)
		defer cancel()
		_, err := r.JS.Publish(ctx, "work.back", nil)
		return err == nil
	})
	r.publish(many(half/4, "a", "b", "c", "d")...)
	r.Until("all are handled", func() bool { return seen.distinct() >= 2*half+1 })
	r.Until("all are acknowledged", func() bool {
		info := r.info()
		return info.NumAckPending == 0 && info.NumPending == 0
	})
	w.end()
}

func TestStopWithoutBrokerReturns(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish("a")
	h := newHold()
	w := r.start(r.options(1), h.handle)
	receive(r, h.began, 1)
	r.Stop()
	began := time.Now()
	w.stop()
	close(h.release)
	if err := w.wait(); err != nil {
		t.Errorf("a stop gave %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a stop without a broker took %v", took)
	}
	r.results(map[string]int{"unacknowledged": 1})
}

// No ack wait ends here, so a message that a stop loses is never redelivered.
func TestStopUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	enough, published := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		defer func() { published <- n }()
		for subjects := []string{"a", "b", "c", "d", "e"}; ; n++ {
			select {
			case <-enough:
				return
			default:
			}
			if _, err := r.JS.Publish(r.Ctx, "work."+subjects[n%len(subjects)], nil); err != nil {
				t.Errorf("publish: %v", err)
				return
			}
		}
	}()
	seen := newLedger()
	handled := make(chan struct{}, 1<<20)
	handle := func(_ context.Context, m jetstream.Msg) error {
		defer func() { handled <- struct{}{} }()
		return seen.note(m)
	}
	for round := range 60 {
		w := r.start(r.options(1+round%5), handle)
		receive(r, handled, round%7)
		w.end()
	}
	close(enough)
	total := <-published
	w := r.start(r.options(4), handle)
	r.Until("all are handled", func() bool { return seen.distinct() == total })
	w.end()
	if n := seen.repeated(); n != 0 {
		t.Errorf("%d messages were handled twice though every stop was graceful", n)
	}
	r.checkDone()
}

func TestMessageDeliveredDuringStopIsReturned(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	const rounds = 15
	seen := newLedger()
	handle := func(_ context.Context, m jetstream.Msg) error { return seen.note(m) }
	for range rounds {
		w := r.start(r.options(2), handle)
		r.Until("the worker waits", func() bool { return r.info().NumWaiting > 0 })
		for _, subject := range []string{"a", "b", "c"} {
			_, err := r.JS.PublishAsync("work."+subject, nil)
			r.Must(err)
		}
		w.end()
	}
	w := r.start(r.options(2), handle)
	r.Until("all are handled", func() bool { return seen.distinct() == 3*rounds })
	w.end()
	r.checkDone()
}
