package subscriber

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/record"
	"arauto/schemas/subject"
)

const (
	// pullWait is how long one pull waits for events, and the pause before another. It also
	// bounds how long an idle Run takes to stop. A guess.
	pullWait = 500 * time.Millisecond
	// pullSize is how many events one pull asks for. A guess.
	pullSize = 64
	// memory is how many handled events and payments a Run remembers. A guess: it only keeps
	// redelivered events from the handler.
	memory = 65536
)

// run is one Run.
type run struct {
	Options
	js      jetstream.JetStream
	handle  Handler
	pulling context.Context
	work    context.Context // The handlers' context; it outlives pulling by the grace.
	cancel  context.CancelFunc
	slots   chan struct{} // One token per running handler.
	most    int           // Events that the consumer delivers before one is acked.
	handled *lru.Cache[string, struct{}]
	latest  *lru.Cache[string, position] // By payment: the latest event that was handled.

	mu     sync.Mutex
	behind map[string][]jetstream.Msg // Events queued behind the payment's handled one.
	open   map[jetstream.Msg]struct{} // Neither acked nor returned.
	busy   sync.WaitGroup
}

func newRun(ctx context.Context, js jetstream.JetStream, o Options, most int, handle Handler) (*run, error) {
	r := &run{
		Options: o, js: js, handle: handle, pulling: ctx, most: most,
		slots:  make(chan struct{}, o.Concurrency),
		behind: map[string][]jetstream.Msg{}, open: map[jetstream.Msg]struct{}{},
	}
	var err error
	if r.handled, err = lru.New[string, struct{}](memory); err == nil {
		r.latest, err = lru.New[string, position](memory)
	}
	r.work, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return r, err
}

// pull dispatches events until ctx ends, or until the consumer is gone. The consumer bounds
// how many are held, so that events which are retried do not keep out others.
func (r *run) pull(ctx context.Context, consumer jetstream.Consumer) error {
	reported := false
	for ctx.Err() == nil {
		events, err := consumer.Fetch(pullSize, jetstream.FetchMaxWait(pullWait))
		if err == nil {
			for m := range events.Messages() {
				r.dispatch(m)
			}
			err = events.Error()
		}
		if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, nats.ErrConnectionClosed) {
			return fmt.Errorf("pull from %s: %w", r.Consumer, err)
		}
		if err != nil && ctx.Err() == nil {
			r.Report(Event{}, fmt.Errorf("pull from %s: %w", r.Consumer, err))
			pause(ctx, pullWait)
		}
		r.mu.Lock()
		full := len(r.open) >= r.most
		r.mu.Unlock()
		if full && !reported {
			r.Report(Event{}, fmt.Errorf("consumer %s delivers nothing more: %d events wait for the handler", r.Consumer, r.most))
		}
		reported = full
	}
	return nil
}

// dispatch queues m behind the event of the same payment that is being handled, or starts a
// goroutine for it.
func (r *run) dispatch(m jetstream.Msg) {
	payment := m.Subject() // An event that is on no subject of ORDERS has a queue of its own.
	if on, err := subject.ParseEvent(m.Subject()); err == nil {
		payment = on.Unit.String()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[m] = struct{}{}
	queue, running := r.behind[payment]
	if running {
		r.behind[payment] = append(queue, m)
		return
	}
	r.behind[payment] = nil
	r.busy.Go(func() {
		for more := true; more; m, more = r.next(payment) {
			r.finish(payment, m)
		}
	})
}

// next takes the payment's next event. Without one, its queue is removed.
func (r *run) next(payment string) (m jetstream.Msg, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	queue := r.behind[payment]
	if len(queue) == 0 {
		delete(r.behind, payment)
		return nil, false
	}
	r.behind[payment] = queue[1:]
	return queue[0], true
}

// finish handles an event until it is done, or returns it to the broker after a stop.
func (r *run) finish(payment string, m jetstream.Msg) {
	looked := false // For a gap before the event.
	for delay := r.FirstDelay; r.pulling.Err() == nil; delay = min(2*delay, r.MaxDelay) {
		if r.try(payment, m, &looked) {
			r.release(m, m.Ack)
			return
		}
		pause(r.pulling, delay)
	}
	r.release(m, m.Nak)
}

// try handles an event once. It returns true if the event is done.
func (r *run) try(payment string, m jetstream.Msg, looked *bool) bool {
	e, err := read(m)
	if err == nil {
		if _, again := r.handled.Get(e.ID); again && e.ID != "" {
			return true // Its ack was lost.
		}
		last, _ := r.latest.Get(payment)
		e.follow(last)
		if !*looked {
			*looked = true
			r.reportGap(e, m)
		}
		err = r.call(e)
	}
	var refused *refusal
	if r.DeadLetters && errors.As(err, &refused) {
		r.Report(e, err)
		err = r.deadLetter(e, m, err)
	}
	if err != nil {
		if r.pulling.Err() == nil { // A stop is no failure of the event.
			r.Report(e, err)
		}
		return false
	}
	r.handled.Add(e.ID, struct{}{})
	if !e.Late() {
		r.latest.Add(payment, position{e.Transition, e.Sequence})
	}
	return true
}

// gapTimeout is how long a look for a gap may take. A guess.
const gapTimeout = 5 * time.Second

// reportGap reports the gap before an event, or that it could not be looked for: then the
// handler is called all the same.
func (r *run) reportGap(e Event, m jetstream.Msg) {
	ctx, cancel := context.WithTimeout(r.work, gapTimeout)
	defer cancel()
	gap, err := r.gap(ctx, e, m)
	if gap != nil {
		r.Report(e, gap)
	} else if err != nil {
		r.Report(e, err)
	}
}

// call calls the handler in a slot. A panic is an error of the event.
func (r *run) call(e Event) (err error) {
	select {
	case r.slots <- struct{}{}:
	case <-r.pulling.Done():
		return r.pulling.Err()
	}
	defer func() {
		<-r.slots
		if p := recover(); p != nil {
			err = fmt.Errorf("the handler panicked: %v", p)
		}
	}()
	return r.handle(r.work, e)
}

// deadLetter stores the dead letter of a refused event. A second one of the same event
// within the stream's duplicate window is stored once.
func (r *run) deadLetter(e Event, m jetstream.Msg, cause error) error {
	on, err := subject.ParseEvent(m.Subject())
	if err != nil {
		return err
	}
	id := fmt.Sprintf("%s-%d", subject.Orders, e.Sequence)
	body, err := json.Marshal(record.DeadLetter{
		ID: id, Class: record.ClassSubscriber, Stage: r.Consumer, Provider: e.Provider, Account: e.Account, Kind: e.Kind,
		Payment: e.Payment, Order: e.Order, Cause: cause.Error(), LastAnswer: record.NoAnswer, Stream: subject.Orders, Sequence: e.Sequence,
		ProviderStatus: e.ProviderStatus, Next: "mend the service, have it read the event again, then discard this", At: time.Now().UTC(),
	})
	if err != nil {
		return fmt.Errorf("encode dead letter: %w", err)
	}
	out := nats.NewMsg(on.Unit.DeadLetter(string(record.ClassSubscriber), r.Consumer))
	out.Data = body
	if e.Trace != "" {
		out.Header.Set("traceparent", e.Trace)
	}
	if _, err := r.js.PublishMsg(r.work, out, jetstream.WithMsgID(id+"-"+r.Consumer)); err != nil {
		return fmt.Errorf("store dead letter: %w", err)
	}
	return nil
}

// release acks or returns m. Its heartbeats end before that: a heartbeat after a nak would
// replace the nak.
func (r *run) release(m jetstream.Msg, settle func() error) {
	r.mu.Lock()
	delete(r.open, m)
	r.mu.Unlock()
	if err := settle(); err != nil {
		r.Report(Event{}, fmt.Errorf("ack: %w", err)) // The event is redelivered after the ack wait.
	}
}

// heartbeat tells the broker at each interval that the held events are being worked on,
// until stop is called.
func (r *run) heartbeat(every time.Duration) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(max(every, time.Millisecond))
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				r.mu.Lock()
				for m := range r.open {
					_ = m.InProgress() // The next one follows; without any, the event is redelivered.
				}
				r.mu.Unlock()
			}
		}
	})
	return func() { close(done); running.Wait() }
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
