// Package consume runs a durable pull consumer: bounded concurrency, a prefetch of the
// same size, accounts in turns, one message of a subject at a time, heartbeats for every
// message that is held, and acks that the broker confirms.
package consume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/wait"
	"arauto/workers/internal/panics"
)

// Handler handles one message. Nil means that the result is durable: the message is
// acked. An error means that it is redelivered, to any worker. The context ends when a
// stop has used up its grace.
type Handler func(ctx context.Context, m jetstream.Msg) error

// Fatal wraps an error after which the worker must not go on. If a second call of the
// handler, fatalAfter later, returns one too, the message is redelivered and Run returns
// the error.
type Fatal struct{ Err error }

func (f *Fatal) Error() string { return f.Err.Error() }

// Unwrap returns the wrapped error.
func (f *Fatal) Unwrap() error { return f.Err }

// ErrRetryLater is returned by a Handler that did not begin with a message, because the
// consumer is being paused. The message is redelivered without being counted as failed.
var ErrRetryLater = errors.New("retry later")

// fatalAfter is how long a fatal error must last: a broker whose disk fails, and that is
// about to end, answers that messages do not exist which it cannot read (nats-server 2.15.3,
// server/jetstream_api.go, jsMsgGetRequest). Found by make powercut. A guess. Before it may
// go, check that a message that cannot be read has an error of its own.
const fatalAfter = 3 * time.Second

// The delay before a message whose handler failed is redelivered. It doubles with each
// delivery up to the longest. It only keeps a failing dependency from being called in a
// hot loop; a provider is waited for by scheduling. Guesses.
const (
	firstDelay   = 500 * time.Millisecond
	longestDelay = 8 * time.Second
)

// redeliveryDelay is the delay before m is redelivered.
func redeliveryDelay(m jetstream.Msg) time.Duration {
	meta, err := m.Metadata()
	if err != nil {
		return firstDelay
	}
	delay := firstDelay
	for n := uint64(1); n < meta.NumDelivered && delay < longestDelay; n++ {
		delay *= 2
	}
	return min(delay, longestDelay)
}

// ackTimeout is how long the broker may take to confirm an ack. It adds to the grace
// when a worker stops without a broker. A guess.
const ackTimeout = 5 * time.Second

// Options say how a consumer is run.
type Options struct {
	Consumer    jetstream.Consumer
	Stream      jetstream.Stream   // The consumer's stream, if it allows batches; see Synced.
	Name        string             // Of the consumer, for logs and metrics.
	Concurrency int                // Most handlers at a time in this process.
	AckWait     time.Duration      // Of the consumer; a heartbeat is sent every third of it.
	Grace       time.Duration      // How long handlers may finish after a stop.
	Limit       func(want int) int // How many of want messages to pull now; nil: all. If less than want, it is called again after 500 ms.
	Log         *zap.Logger
	Metrics     *Metrics

	// OverLimit reports whether the account of a subject has more to do than its limit
	// allows, so that no other worker could do it sooner. Of such an account more messages
	// are held, so that those of others do not wait behind them. Nil: no account has.
	OverLimit func(subject string) bool

	// Explain adds what is known of the broker's state to an error that is logged. Nil
	// adds nothing.
	Explain func(error) error
}

// Run handles the consumer's messages until ctx ends. Then it stops pulling, returns
// queued messages to the broker, and waits for handlers within the grace. It returns
// nil after a stop, and an error if it cannot go on. It holds at most twice Concurrency
// messages, and more only of accounts that are over their limit.
func Run(ctx context.Context, o Options, handle Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o.Metrics.expect(o.Name)
	w := newWorker(ctx, o, handle)
	w.stop = stop
	defer w.cancel()
	stopHeartbeats := w.heartbeat()
	defer stopHeartbeats()

	err := w.pull(ctx)
	stop()
	w.returnQueued()
	w.waitForHandlers()
	select {
	case fatal := <-w.fatal:
		return fmt.Errorf("work on %s: %w", o.Name, fatal)
	default:
		return err
	}
}

// worker is one Run.
type worker struct {
	Options
	handle Handler

	work     context.Context // The handlers' context; it outlives the context of Run by the grace.
	cancel   context.CancelFunc
	stop     context.CancelFunc // Ends the pulling.
	fatal    chan error         // Has room for the first fatal error.
	released chan struct{}      // Has a token after a message was released.
	synced   Synced             // Of pull alone.

	mu      sync.Mutex
	behind  map[string][]jetstream.Msg // Messages queued behind the handled or waiting one, by subject.
	lanes   map[string]*lane           // By account, of which a message is held.
	turns   []*lane                    // Those with waiting messages, in the order of their turns.
	running int                        // Handlers.
	held    map[jetstream.Msg]*lane    // Delivered and not yet acked or returned.
	bytes   int                        // Of the held messages.
	busy    sync.WaitGroup
}

func newWorker(ctx context.Context, o Options, handle Handler) *worker {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return &worker{
		Options: o, handle: handle, work: work, cancel: cancel,
		fatal:    make(chan error, 1),
		released: make(chan struct{}, 1),
		behind:   map[string][]jetstream.Msg{},
		lanes:    map[string]*lane{},
		held:     map[jetstream.Msg]*lane{},
		synced:   Synced{Stream: o.Stream},
	}
}

// process handles one message, and then acks it or returns it to the broker.
func (w *worker) process(m jetstream.Msg) {
	err := w.recovered(m)
	var fatal *Fatal
	if errors.As(err, &fatal) {
		w.Log.Warn("message.contradicted", zap.String("consumer", w.Name), zap.Uint64("sequence", sequence(m)), zap.Error(err))
		wait.For(w.work, fatalAfter)
		err = w.recovered(m)
	}
	switch {
	case err == nil:
		w.ack(m)
	case errors.As(err, &fatal):
		w.Metrics.handled(w.Name, resultFatal)
		select {
		case w.fatal <- fatal:
		default:
		}
		w.stop()
		w.nak(m, redeliveryDelay(m))
	case errors.Is(err, ErrRetryLater):
		w.Metrics.handled(w.Name, resultNotNow)
		w.nak(m, firstDelay)
	case w.work.Err() != nil:
		w.Metrics.handled(w.Name, resultInterrupted)
		w.nak(m, 0)
	default:
		w.Metrics.handled(w.Name, resultFailed)
		delay := redeliveryDelay(m)
		w.Log.Error("message.requeued", zap.String("consumer", w.Name), zap.Uint64("sequence", sequence(m)),
			zap.Duration("redeliver_in", delay), zap.Error(w.explained(err)))
		w.nak(m, delay)
	}
}

// sequence is m's stream sequence, 0 if its reply subject does not tell.
func sequence(m jetstream.Msg) uint64 {
	meta, err := m.Metadata()
	if err != nil {
		return 0
	}
	return meta.Sequence.Stream
}

// explained returns err with what is known of the broker's state.
func (w *worker) explained(err error) error {
	if w.Explain == nil {
		return err
	}
	return w.Explain(err)
}

// recovered calls the handler and turns a panic into an error, so that one message
// cannot end the process.
func (w *worker) recovered(m jetstream.Msg) error {
	err := panics.Try(func() error { return w.handle(w.work, m) })
	var p *panics.Error
	if errors.As(err, &p) {
		w.Log.Error("handler.panicked", zap.String("consumer", w.Name), zap.String("stack", p.Stack))
		return fmt.Errorf("handle message: %w", err)
	}
	return err
}

// ack acks m and waits until the broker has confirmed the ack. Without the confirmation the
// message is redelivered, and its handler finds the result.
func (w *worker) ack(m jetstream.Msg) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.work), min(w.AckWait, ackTimeout))
	defer cancel()
	if err := m.DoubleAck(ctx); err != nil {
		w.Metrics.handled(w.Name, resultUnacknowledged)
		w.Log.Warn("ack.failed",
			zap.String("consumer", w.Name), zap.Error(w.explained(err)))
	} else {
		w.Metrics.handled(w.Name, resultDone)
	}
	w.release(m)
}

// nak returns m to the broker; if that fails, m is redelivered after the ack wait. m is
// released first, because a heartbeat that follows the nak replaces its delay by the
// whole ack wait (nats-server 2.15.3, server/consumer.go, progressUpdate). Before the order
// may change, check that progressUpdate leaves a message with a delay as it is.
func (w *worker) nak(m jetstream.Msg, delay time.Duration) {
	w.release(m)
	var err error
	if delay > 0 {
		err = m.NakWithDelay(delay)
	} else {
		err = m.Nak()
	}
	if err != nil {
		w.Log.Warn("nak.failed", zap.String("consumer", w.Name), zap.Error(err))
	}
}

// release ends the heartbeats for m and makes room for another message.
func (w *worker) release(m jetstream.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.held[m]; l != nil {
		if l.held--; l.held == 0 {
			delete(w.lanes, accountOf(m))
		}
		delete(w.held, m)
		w.bytes -= len(m.Data())
	}
	select {
	case w.released <- struct{}{}:
	default:
	}
}

// heartbeat sends in-progress acks for all held messages every third of the ack wait,
// until stop is called.
func (w *worker) heartbeat() (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(w.AckWait / 3)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				w.sendHeartbeats()
			}
		}
	})
	return func() { close(done); running.Wait() }
}

// sendHeartbeats keeps the lock while it publishes, so that no nak is sent in between.
// It does not wait for the broker.
func (w *worker) sendHeartbeats() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for m := range w.held {
		if err := m.InProgress(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			w.Log.Warn("heartbeat.failed", zap.String("consumer", w.Name), zap.Error(err))
			return
		}
	}
}

// waitForHandlers waits until running handlers return. After the grace it cancels their
// context.
func (w *worker) waitForHandlers() {
	timer := time.AfterFunc(w.Grace, w.cancel)
	defer timer.Stop()
	w.busy.Wait()
}
