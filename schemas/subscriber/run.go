package subscriber

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/record"
	"arauto/schemas/subject"
)

const (
	// pullWait is how long one pull waits for events, and the pause after a failed one. It also
	// bounds how long an idle Run takes to stop. A guess.
	pullWait = 500 * time.Millisecond
	// pullSize is how many events one pull asks for. A guess.
	pullSize = 64
	// memory is how many handled events and payments a Run remembers. A guess: it only keeps
	// redelivered events from the handler.
	memory = 65536
	// gapTimeout is how long a look for a gap may take. A guess.
	gapTimeout = 5 * time.Second
)

// position is where an event is in its payment's log.
type position struct{ transition, sequence uint64 }

// run is one Run.
type run struct {
	Options
	js      jetstream.JetStream
	handle  Handler
	pulling context.Context // Ends with a stop, or with pull.
	stop    context.CancelFunc
	work    context.Context // The handlers' context; it outlives pulling by the grace.
	cancel  context.CancelFunc
	slots   chan struct{} // One token per running handler.
	handled *lru.LRU[string, struct{}]
	latest  *lru.LRU[subject.Unit, position] // The latest event of a payment that was handled.
	held    atomic.Int64                     // Events that are neither acked nor returned.
	last    sync.Map                         // By payment: a channel that is closed once its last held event is settled.
	busy    sync.WaitGroup
}

func newRun(ctx context.Context, js jetstream.JetStream, o Options, handle Handler) *run {
	o.FirstDelay, o.MaxDelay, o.Grace = cmp.Or(o.FirstDelay, time.Second), cmp.Or(o.MaxDelay, time.Minute), cmp.Or(o.Grace, 10*time.Second)
	if o.Report == nil {
		o.Report = func(Event, error) {}
	}
	r := &run{ // Nothing expires: the package is used because its caches are made without an error.
		Options: o, js: js, handle: handle, slots: make(chan struct{}, cmp.Or(o.Concurrency, 16)),
		handled: lru.NewLRU[string, struct{}](memory, nil, 0), latest: lru.NewLRU[subject.Unit, position](memory, nil, 0),
	}
	r.pulling, r.stop = context.WithCancel(ctx)
	r.work, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return r
}

// pull takes events until a stop, or until the consumer is gone. The consumer bounds how many
// are held, so that events which are retried do not keep out others.
func (r *run) pull(consumer jetstream.Consumer) error {
	defer r.stop()
	config, reported := consumer.CachedInfo().Config, false
	for r.pulling.Err() == nil {
		events, err := consumer.Fetch(pullSize, jetstream.FetchMaxWait(pullWait))
		if err == nil {
			for m := range events.Messages() {
				r.hold(m, max(config.AckWait/3, time.Millisecond))
			}
			err = events.Error()
		}
		if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, nats.ErrConnectionClosed) {
			return fmt.Errorf("pull from %s: %w", r.Consumer, err)
		}
		if err != nil && r.pulling.Err() == nil {
			r.Report(Event{}, fmt.Errorf("pull from %s: %w", r.Consumer, err))
			r.pause(pullWait)
		}
		full := r.held.Load() >= int64(config.MaxAckPending)
		if full && !reported {
			r.Report(Event{}, fmt.Errorf("consumer %s delivers nothing more: %d events wait for the handler", r.Consumer, config.MaxAckPending))
		}
		reported = full
	}
	return nil
}

// hold handles m once the payment's event before it is settled, and sends heartbeats until m
// is acked or returned. One goroutine sends all that, because a heartbeat after a nak would
// replace the nak.
func (r *run) hold(m jetstream.Msg, every time.Duration) {
	meta, err := m.Metadata()
	if err != nil {
		r.Report(Event{}, fmt.Errorf("read message metadata: %w", err))
		return // It is redelivered after the ack wait.
	}
	e, unreadable := read(&jetstream.RawStreamMsg{Subject: m.Subject(), Data: m.Data(), Header: m.Headers(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp})
	settled, finished := make(chan struct{}), make(chan func() error, 1)
	last, _ := r.last.Swap(e.unit, settled)
	go func() {
		if before, ok := last.(chan struct{}); ok {
			<-before
		}
		finished <- r.finish(e, unreadable, m)
	}()
	r.held.Add(1)
	r.busy.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = m.InProgress() // The next one follows; without any, the event is redelivered.
			case settle := <-finished:
				if err := settle(); err != nil {
					r.Report(e, fmt.Errorf("ack: %w", err)) // The event is redelivered after the ack wait.
				}
				r.held.Add(-1)
				r.last.CompareAndDelete(e.unit, settled)
				close(settled)
				return
			}
		}
	})
}

// finish handles an event until it is done, and returns how it is settled: by an ack, or by a
// nak after a stop.
func (r *run) finish(e Event, unreadable error, m jetstream.Msg) (settle func() error) {
	if unreadable == nil {
		if r.handled.Contains(e.ID) && e.ID != "" {
			return m.Ack // Its ack was lost.
		}
		last, _ := r.latest.Get(e.unit)
		e.After, e.latest = last.transition, last.sequence
		if !e.Late() && e.Transition <= e.After {
			e.After = 0 // Transitions of one log grow: this log has begun again.
		}
		r.reportGap(e)
	}
	for delay := r.FirstDelay; r.pulling.Err() == nil; delay = min(2*delay, r.MaxDelay) {
		err := unreadable
		if err == nil {
			err = r.call(e)
		}
		if err == nil {
			r.handled.Add(e.ID, struct{}{})
			if !e.Late() {
				r.latest.Add(e.unit, position{e.Transition, e.Sequence})
			}
			return m.Ack
		}
		if r.pulling.Err() == nil { // A stop is no failure of the event.
			r.Report(e, err)
		}
		r.pause(delay)
	}
	return m.Nak
}

// call calls the handler in a slot. A panic is an error of the event, and a refused event is
// done once its dead letter is stored.
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
	err = r.handle(r.work, e)
	if refused := (refusal{}); r.DeadLetters && errors.As(err, &refused) {
		r.Report(e, err)
		err = r.deadLetter(e, err)
	}
	return err
}

// deadLetter stores the dead letter of a refused event. A second one of the same event
// within the stream's duplicate window is stored once.
func (r *run) deadLetter(e Event, cause error) error {
	id := fmt.Sprintf("%s-%d", subject.Orders, e.Sequence)
	body, err := json.Marshal(record.DeadLetter{
		ID: id, Class: record.ClassSubscriber, Stage: r.Consumer, Provider: e.Provider, Account: e.Account, Kind: e.Kind,
		Payment: e.Payment, Order: e.Order, Cause: cause.Error(), LastAnswer: record.NoAnswer, Stream: subject.Orders, Sequence: e.Sequence,
		ProviderStatus: e.ProviderStatus, Next: "mend the service, have it read the event again, then discard this", At: time.Now().UTC(),
	})
	if err != nil {
		return fmt.Errorf("encode dead letter: %w", err)
	}
	out := &nats.Msg{Subject: e.unit.DeadLetter(string(record.ClassSubscriber), r.Consumer), Data: body, Header: nats.Header{}}
	if e.Trace != "" {
		out.Header.Set("traceparent", e.Trace)
	}
	if _, err := r.js.PublishMsg(r.work, out, jetstream.WithMsgID(id+"-"+r.Consumer)); err != nil {
		return fmt.Errorf("store dead letter: %w", err)
	}
	return nil
}

// pause waits for d or until a stop.
func (r *run) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.pulling.Done():
	}
}
