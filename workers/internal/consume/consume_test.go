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
	"go.uber.org/zap/zapcore"

	"arauto/deploy/runtime/testbench"
	"arauto/workers/internal/consume"
)

func TestHandledMessagesAreAckedAndConfirmed(t *testing.T) {
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
	r.checkDone()
	r.results(map[string]int{"done": 30})
	r.Until("every ack asks the broker to confirm it", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.acks == 30
	})
}

func TestFailedMessageIsRedeliveredWithDelay(t *testing.T) {
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
		t.Errorf("redelivered after %v, which is a hot loop", pause)
	}
	r.checkDone()
	r.results(map[string]int{"failed": 1, "done": 1})
}

func TestPanicIsAFailureOfOneMessage(t *testing.T) {
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
		t.Errorf("handled %v, want the message whose handler panicked last", got)
	}
	r.checkDone()
}

// floor counts handlers that run at the same time.
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

func (f *floor) exit(subject string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.active, subject)
}

func TestSubjectsRunConcurrentlyAndEachInOrder(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	const concurrency, subjects, each = 3, 5, 20
	r.publish(many(each, "a", "b", "c", "d", "e")...)
	f := &floor{active: map[string]bool{}, order: map[string][]uint64{}}
	handled := make(chan struct{}, subjects*each)
	// The first handlers wait for each other, so that the limit is really reached.
	var barrier sync.WaitGroup
	barrier.Add(concurrency)
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
			barrier.Done()
			barrier.Wait()
		default:
		}
		f.exit(m.Subject())
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
	r.checkDone()
}

func TestHeldMessagesAreBoundedAndKeptByHeartbeats(t *testing.T) {
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
	// Nine heartbeats take three ack waits: without them every message would have
	// been redelivered by then.
	r.Until("every held message shows nine signs of life", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		lively := 0
		for _, n := range r.heartbeats {
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
	r.Until("all are handled", func() bool { return seen.distinct() == len(names) })
	w.end()
	if n := seen.repeated(); n != 0 {
		t.Errorf("%d messages were handled twice", n)
	}
	r.checkDone()
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
	r.Until("all are handled", func() bool { return seen.distinct() == 40 })
	one.end()
	two.end()
	if n := seen.repeated(); n != 0 {
		t.Errorf("%d messages were handled twice", n)
	}
	r.checkDone()
}

func TestFatalErrorEndsTheWorker(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish("a", "b", "c", "d")
	calls, first := 0, ""
	w := r.start(r.options(1), func(_ context.Context, m jetstream.Msg) error {
		if calls++; calls == 1 {
			first = m.Subject()
		}
		if m.Subject() != first || calls > 2 {
			t.Error("another message was handled after a fatal error")
		}
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
	r.checkDone()
}

// A broker whose disk fails answers that messages do not exist which it cannot read.
func TestFatalErrorThatPassesDoesNotEndTheWorker(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish("a", "b")
	calls, handled := 0, make(chan struct{}, 4)
	w := r.start(r.options(1), func(context.Context, jetstream.Msg) error {
		if calls++; calls == 1 {
			return &consume.Fatal{Err: errBroken}
		}
		handled <- struct{}{}
		return nil
	})
	receive(r, handled, 2)
	w.end()
	r.results(map[string]int{"done": 2})
}

func TestDeletedConsumerEndsTheWorkerWithAnError(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	w := r.start(r.options(1), func(context.Context, jetstream.Msg) error { return nil })
	r.Until("the worker waits", func() bool { return r.info().NumWaiting > 0 })
	r.Must(r.JS.DeleteConsumer(r.Ctx, "WORK", "worker"))
	if err := w.wait(); err == nil {
		t.Error("Run returned nil without a stop")
	}
}

func TestMissingConsumerEndsTheWorkerWithAnError(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.Must(r.JS.DeleteConsumer(r.Ctx, "WORK", "worker"))
	w := r.start(r.options(1), func(context.Context, jetstream.Msg) error { return nil })
	if err := w.wait(); err == nil {
		t.Error("Run returned nil without a stop")
	}
}

// A broker whose disk fails, or that is starting, calls a consumer missing that it has.
func TestConsumerThatIsMissingForAMomentDoesNotEndTheWorker(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	info := r.info()
	log, logs := testbench.Logs(zapcore.WarnLevel)
	o := r.options(1)
	o.Log = log
	handled := make(chan struct{}, 8)
	w := r.start(o, func(context.Context, jetstream.Msg) error { handled <- struct{}{}; return nil })
	r.Until("the worker waits", func() bool { return r.info().NumWaiting > 0 })
	r.Must(r.JS.DeleteConsumer(r.Ctx, "WORK", "worker"))
	r.Until("the worker misses its consumer", func() bool { return logs.FilterMessage("pull.failed").Len() > 0 })
	_, err := r.JS.CreateConsumer(r.Ctx, "WORK", info.Config)
	r.Must(err)
	r.publish("a")
	receive(r, handled, 1)
	w.end()
}

// An error of the log is explained by what is known of the broker.
func TestRequeuedMessageIsLoggedOnce(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	log, logs := testbench.Logs(zapcore.ErrorLevel)
	o := r.options(1)
	o.Log, o.Explain = log, func(err error) error { return fmt.Errorf("%w (the broker cannot write)", err) }
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
