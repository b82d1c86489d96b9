// Package consume runs a durable pull consumer: bounded concurrency, prefetch
// that follows it, one message of a payment at a time, signs of life while a
// message is held, and an acknowledgement that the broker confirmed.
package consume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/workers/internal/panics"
)

// Handler works on one message. nil means that its result is durable and the
// message may go: it is acknowledged and the acknowledgement confirmed. An
// error means that we could not finish; the broker delivers the message again,
// to whoever asks next. The context ends only when a stop has used up its
// grace.
type Handler func(ctx context.Context, m jetstream.Msg) error

// Fatal wraps an error after which the worker must not go on. Run returns it.
type Fatal struct{ Err error }

func (f *Fatal) Error() string { return f.Err.Error() }

// Unwrap returns the wrapped error.
func (f *Fatal) Unwrap() error { return f.Err }

// ErrRetryLater is what a Handler returns for a message that it has not begun,
// because now is not the time: the consumer is being paused. The message goes
// back without being counted as failed.
var ErrRetryLater = errors.New("not now")

// again is the delay before a message that we could not finish comes back. It
// only keeps a broken dependency from being asked in a hot loop; waiting for
// a provider is parking, which is not done here. It doubles with each delivery
// up to the longest, because a full stream is not mended by asking the provider
// twice a second.
const (
	again        = 500 * time.Millisecond
	longestAgain = 8 * time.Second
)

// redeliveryDelay is the delay before the next delivery of m.
func redeliveryDelay(m jetstream.Msg) time.Duration {
	meta, err := m.Metadata()
	if err != nil {
		return again
	}
	delay := again
	for n := uint64(1); n < meta.NumDelivered && delay < longestAgain; n++ {
		delay *= 2
	}
	return min(delay, longestAgain)
}

// ackTimeout is how long the broker may take to confirm an acknowledgement.
// It bounds how long a stop without a broker takes, beside the grace.
const ackTimeout = 5 * time.Second

// Options say how a consumer is worked on.
type Options struct {
	Consumer    jetstream.Consumer
	Name        string             // For logs and metrics.
	Concurrency int                // Handlers at a time, in this process.
	AckWait     time.Duration      // Of the consumer; a sign of life goes out every third of it.
	Grace       time.Duration      // How long handlers may finish after a stop.
	Limit       func(want int) int // How many of want messages to pull now; nil: all. Below want it is asked again shortly.
	Log         *zap.Logger
	Metrics     *Metrics

	// Explain adds to what a message failed with, for the log, what is known of the
	// broker. Nil for nothing.
	Explain func(error) error
}

// Run works on the consumer until ctx ends, then stops pulling, hands back
// what has not begun, lets handlers finish within the grace, and returns. It
// returns nil for a stop and an error when it cannot go on. It holds at most
// twice Concurrency messages.
func Run(ctx context.Context, o Options, handle Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o.Metrics.expect(o.Name)
	w := newWorker(ctx, o, handle)
	w.stop = stop
	defer w.cancel()
	stopBeats := w.heartbeat()
	defer stopBeats()

	err := w.pull(ctx)
	stop()
	w.returnQueued()
	w.finish()
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

	work   context.Context // What handlers see; outlives ctx by the grace.
	cancel context.CancelFunc
	stop   context.CancelFunc // Ends the pulling.
	fatal  chan error         // Holds the first one.
	slots  chan struct{}
	room   chan struct{} // One token per held message.

	mu    sync.Mutex
	lanes map[string][]jetstream.Msg // Messages behind the one in work, by subject.
	held  map[jetstream.Msg]struct{}
	busy  sync.WaitGroup
}

func newWorker(ctx context.Context, o Options, handle Handler) *worker {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	return &worker{
		Options: o, handle: handle, work: work, cancel: cancel,
		fatal: make(chan error, 1),
		slots: make(chan struct{}, o.Concurrency),
		room:  make(chan struct{}, 2*o.Concurrency),
		lanes: map[string][]jetstream.Msg{},
		held:  map[jetstream.Msg]struct{}{},
	}
}

// handle handles one message and settles it.
func (w *worker) process(m jetstream.Msg) {
	err := w.recovered(m)
	var fatal *Fatal
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
		w.nak(m, again)
	case w.work.Err() != nil:
		w.Metrics.handled(w.Name, resultInterrupted)
		w.nak(m, 0)
	default:
		w.Metrics.handled(w.Name, resultFailed)
		w.Log.Error("message not finished, it comes back", zap.String("consumer", w.Name), zap.Error(w.explained(err)))
		w.nak(m, redeliveryDelay(m))
	}
}

// explained is an error with what is known of the broker.
func (w *worker) explained(err error) error {
	if w.Explain == nil {
		return err
	}
	return w.Explain(err)
}

// recovered turns a panic into an error: one poisonous message must not take the
// others down with it.
func (w *worker) recovered(m jetstream.Msg) error {
	err := panics.Try(func() error { return w.handle(w.work, m) })
	var p *panics.Error
	if errors.As(err, &p) {
		w.Log.Error("handler panicked", zap.String("consumer", w.Name), zap.String("stack", p.Stack))
		return fmt.Errorf("handle message: %w", err)
	}
	return err
}

// ack acknowledges m and waits for the broker's word. Without it the
// message comes again, and finds its result.
func (w *worker) ack(m jetstream.Msg) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.work), min(w.AckWait, ackTimeout))
	defer cancel()
	if err := m.DoubleAck(ctx); err != nil {
		w.Metrics.handled(w.Name, resultUnacknowledged)
		w.Log.Warn("acknowledgement not confirmed, the message comes back",
			zap.String("consumer", w.Name), zap.Error(w.explained(err)))
	} else {
		w.Metrics.handled(w.Name, resultDone)
	}
	w.release(m)
}

// nak returns m to the broker. If that fails, the acknowledgement wait
// does it. The message is let go first: a sign of life behind the negative
// acknowledgement would make its delay the whole acknowledgement wait.
func (w *worker) nak(m jetstream.Msg, delay time.Duration) {
	w.release(m)
	var err error
	if delay > 0 {
		err = m.NakWithDelay(delay)
	} else {
		err = m.Nak()
	}
	if err != nil {
		w.Log.Warn("message not handed back", zap.String("consumer", w.Name), zap.Error(err))
	}
}

func (w *worker) release(m jetstream.Msg) {
	w.mu.Lock()
	delete(w.held, m)
	w.mu.Unlock()
	<-w.room
}

// heartbeat tells the broker regularly that held messages are in good hands.
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

// sendHeartbeats keeps the lock while it writes, so that no message is handed
// back in between. It does not wait for the broker.
func (w *worker) sendHeartbeats() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for m := range w.held {
		if err := m.InProgress(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			w.Log.Warn("sign of life not sent", zap.String("consumer", w.Name), zap.Error(err))
			return
		}
	}
}

// finish waits for running handlers, at most for the grace, then tells them.
func (w *worker) finish() {
	timer := time.AfterFunc(w.Grace, w.cancel)
	defer timer.Stop()
	w.busy.Wait()
}
