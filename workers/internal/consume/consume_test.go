package consume_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"arauto/workers/internal/consume"
)

func TestFinishedMessagesAreAcknowledgedAndConfirmed(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish(many(10, "a", "b", "c")...)
	handled := make(chan string, 30)
	w := r.start(r.options(4), func(_ context.Context, m jetstream.Msg) error {
		handled <- m.Subject()
		return nil
	})
	receive(r, handled, 30)
	w.end()
	r.settled()
	r.results(map[string]int{"done": 30})
	r.eventually("every acknowledgement asks for the broker's word", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.acks == 30
	})
}

func TestFailedMessageComesBackAfterAPause(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish("a")
	at := make(chan time.Time, 2)
	w := r.start(r.options(2), func(_ context.Context, m jetstream.Msg) error {
		at <- time.Now()
		if meta, err := m.Metadata(); err != nil || meta.NumDelivered == 1 {
			return errBroken
		}
		return nil
	})
	times := receive(r, at, 2)
	w.end()
	if pause := times[1].Sub(times[0]); pause < 450*time.Millisecond {
		t.Errorf("it came back after %v, which is a hot loop", pause)
	}
	r.settled()
	r.results(map[string]int{"failed": 1, "done": 1})
}

func TestPanicSparesTheProcessAndTheOthers(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish("poison", "a", "b")
	handled := make(chan string, 4)
	w := r.start(r.options(1), func(_ context.Context, m jetstream.Msg) error {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if m.Subject() == "work.poison" && meta.NumDelivered == 1 {
			panic("poisonous")
		}
		handled <- m.Subject()
		return nil
	})
	got := receive(r, handled, 3)
	w.end()
	if got[2] != "work.poison" {
		t.Errorf("handled %v, want the poisonous one last", got)
	}
	r.settled()
}

// floor watches who is in work at the same time.
type floor struct {
	mu     sync.Mutex
	active map[string]bool
	most   int
	twice  bool
	order  map[string][]uint64
}

func (f *floor) enter(subject string, sequence uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.twice = f.twice || f.active[subject]
	f.active[subject] = true
	f.most = max(f.most, len(f.active))
	f.order[subject] = append(f.order[subject], sequence)
}

func (f *floor) leave(subject string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.active, subject)
}

func TestSubjectsRunSideBySideAndEachInOrder(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	const concurrency, subjects, each = 3, 5, 20
	r.publish(many(each, "a", "b", "c", "d", "e")...)
	f := &floor{active: map[string]bool{}, order: map[string][]uint64{}}
	handled := make(chan struct{}, subjects*each)
	// The first ones wait for each other, so that the cap is really reached.
	var gate sync.WaitGroup
	gate.Add(concurrency)
	tickets := make(chan struct{}, concurrency)
	for range concurrency {
		tickets <- struct{}{}
	}
	w := r.start(r.options(concurrency), func(_ context.Context, m jetstream.Msg) error {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		f.enter(m.Subject(), meta.Sequence.Stream)
		select {
		case <-tickets:
			gate.Done()
			gate.Wait()
		default:
		}
		f.leave(m.Subject())
		handled <- struct{}{}
		return nil
	})
	receive(r, handled, subjects*each)
	w.end()
	if f.most != concurrency {
		t.Errorf("at most %d handlers ran at a time, want %d", f.most, concurrency)
	}
	if f.twice {
		t.Error("two handlers worked on one subject at the same time")
	}
	for subject, order := range f.order {
		if len(order) != each || !slices.IsSorted(order) {
			t.Errorf("%s was handled in the order %v", subject, order)
		}
	}
	r.settled()
}

func TestHeldMessagesAreBoundedAndNeverExpire(t *testing.T) {
	t.Parallel()
	const ackWait, concurrency = 900 * time.Millisecond, 3
	r := setup(t, ackWait)
	names := []string{"a", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"}
	r.publish(names...)
	release := make(chan struct{})
	seen := newLedger()
	w := r.start(r.options(concurrency), func(_ context.Context, m jetstream.Msg) error {
		<-release
		return seen.note(m)
	})
	// Nine signs are three acknowledgement waits: without them everything
	// would have come twice by then.
	r.eventually("every held message shows nine signs of life", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		lively := 0
		for _, n := range r.signs {
			if n >= 9 {
				lively++
			}
		}
		return lively >= 2*concurrency
	})
	info := r.info()
	if info.NumAckPending != 2*concurrency || info.NumRedelivered != 0 {
		t.Errorf("%d messages are held and %d redelivered, want %d and 0", info.NumAckPending, info.NumRedelivered, 2*concurrency)
	}
	close(release)
	r.eventually("all are handled", func() bool { return seen.distinct() == len(names) })
	w.end()
	if n := seen.repeated(); n != 0 {
		t.Errorf("%d messages were handled twice", n)
	}
	r.settled()
}

func TestTwoWorkersShareOneConsumer(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish(many(10, "a", "b", "c", "d")...)
	seen := newLedger()
	var both sync.WaitGroup
	both.Add(2)
	worker := func() consume.Handler {
		var first sync.Once
		return func(_ context.Context, m jetstream.Msg) error {
			first.Do(func() { both.Done(); both.Wait() })
			return seen.note(m)
		}
	}
	one, two := r.start(r.options(1), worker()), r.start(r.options(1), worker())
	r.eventually("all are handled", func() bool { return seen.distinct() == 40 })
	one.end()
	two.end()
	if n := seen.repeated(); n != 0 {
		t.Errorf("%d messages were handled twice", n)
	}
	r.settled()
}

func TestFatalErrorEndsTheWorker(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish("a", "b", "c", "d")
	first := true
	w := r.start(r.options(1), func(context.Context, jetstream.Msg) error {
		if !first {
			t.Error("another message was handled after a fatal error")
		}
		first = false
		return &consume.Fatal{Err: errBroken}
	})
	if err := w.wait(); !errors.Is(err, errBroken) {
		t.Fatalf("Run returned %v, want the fatal error", err)
	}
	r.results(map[string]int{"fatal": 1})
	handled := make(chan string, 4)
	again := r.start(r.options(1), func(_ context.Context, m jetstream.Msg) error {
		handled <- m.Subject()
		return nil
	})
	receive(r, handled, 4)
	again.end()
	r.settled()
}

func TestDeletedConsumerEndsTheWorkerWithAnError(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	w := r.start(r.options(1), func(context.Context, jetstream.Msg) error { return nil })
	r.eventually("the worker waits", func() bool { return r.info().NumWaiting > 0 })
	r.must(r.JS.DeleteConsumer(r.ctx, "WORK", "worker"))
	if err := w.wait(); err == nil {
		t.Error("Run returned nil though nobody stopped it")
	}
}

func TestMissingConsumerEndsTheWorkerWithAnError(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.must(r.JS.DeleteConsumer(r.ctx, "WORK", "worker"))
	w := r.start(r.options(1), func(context.Context, jetstream.Msg) error { return nil })
	if err := w.wait(); err == nil {
		t.Error("Run returned nil though nobody stopped it")
	}
}

// What is known of the broker stands in the log beside what failed.
func TestFailureSaysWhatIsKnownOfTheBroker(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	core, logs := observer.New(zapcore.ErrorLevel)
	o := r.options(1)
	o.Log, o.Explain = zap.New(core), func(err error) error { return fmt.Errorf("%w (the broker cannot write)", err) }
	failed := make(chan struct{}, 8)
	w := r.start(o, func(context.Context, jetstream.Msg) error { failed <- struct{}{}; return errBroken })
	r.publish("a")
	receive(r, failed, 1)
	w.end()
	all := logs.FilterMessage("message.requeued").All()
	if len(all) == 0 {
		t.Fatal("a failure is not logged")
	}
	line := all[0].ContextMap()
	if line["error"] != errBroken.Error()+" (the broker cannot write)" || line["consumer"] != "worker" ||
		line["sequence"] != uint64(1) || line["redeliver_in"] != 500*time.Millisecond {
		t.Errorf("the line has %v", line)
	}
}
