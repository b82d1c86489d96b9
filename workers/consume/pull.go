package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

const (
	// heartbeat is how often the broker shows on an idle pull that it still
	// knows it. When two are missing, a pull was lost and is made anew.
	heartbeat = 5 * time.Second
	// handBack bounds how long a stop waits for what the broker may still have
	// sent. What comes later returns by the acknowledgement wait.
	handBack = 2 * time.Second
)

// pull dispatches messages until ctx ends. It asks for a message only when
// there is room to hold it: one that waited in the client's own buffer would
// get no sign of life and come again while handlers are slow.
func (w *worker) pull(ctx context.Context) error {
	messages, err := w.Consumer.Messages(jetstream.PullMaxMessages(1), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return fmt.Errorf("pull from %s: %w", w.Name, err)
	}
	defer func() {
		messages.Drain()
		w.busy.Go(func() { returnBuffered(ctx, messages) })
	}()
	for {
		select {
		case w.room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			<-w.room
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				w.Log.Warn("consumer is silent", zap.String("consumer", w.Name), zap.Error(err))
				continue
			}
			return fmt.Errorf("pull from %s: %w", w.Name, err)
		}
		w.dispatch(ctx, m)
		w.pullBacklog(ctx, m)
	}
}

// pullBacklog takes at once what waits behind m, as far as there is room. So
// a busy consumer costs one round trip for many messages, not one for each.
func (w *worker) pullBacklog(ctx context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil || meta.NumPending == 0 {
		return
	}
	room := w.takeRoom(meta.NumPending)
	if room == 0 {
		return
	}
	// The next pull tells of errors, which need to be judged only once.
	if batch, err := w.Consumer.FetchNoWait(room); err == nil {
		for m := range batch.Messages() {
			w.dispatch(ctx, m)
			room--
		}
	}
	for range room {
		<-w.room
	}
}

// takeRoom takes the room for at most n messages, as far as there is any.
func (w *worker) takeRoom(n uint64) (taken int) {
	for ; uint64(taken) < n; taken++ {
		select {
		case w.room <- struct{}{}:
		default:
			return taken
		}
	}
	return taken
}

// dispatch puts m behind the message of the same subject that is in work, or
// starts a lane for it. A burst about one payment so takes one slot, and what
// the first message learns settles the rest. It never waits.
func (w *worker) dispatch(ctx context.Context, m jetstream.Msg) {
	w.mu.Lock()
	w.held[m] = struct{}{}
	queue, running := w.lanes[m.Subject()]
	if running {
		queue = append(queue, m)
	}
	w.lanes[m.Subject()] = queue
	w.mu.Unlock()
	if !running {
		w.busy.Go(func() { w.lane(ctx, m) })
	}
}

// lane works on m and then on everything that queued up behind it.
func (w *worker) lane(ctx context.Context, m jetstream.Msg) {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
	}
	for subject, more := m.Subject(), true; more; m, more = w.behind(subject) {
		if ctx.Err() != nil {
			w.giveBack(m, 0)
		} else {
			w.one(m)
		}
	}
}

// behind takes the next message of a lane. Without one it closes the lane.
func (w *worker) behind(subject string) (m jetstream.Msg, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	queue := w.lanes[subject]
	if len(queue) == 0 {
		delete(w.lanes, subject)
		return nil, false
	}
	w.lanes[subject] = queue[1:]
	return queue[0], true
}

// returnQueued hands back what waits behind running handlers, so that others
// need not wait for the grace.
func (w *worker) returnQueued() {
	w.mu.Lock()
	var queued []jetstream.Msg
	for subject, queue := range w.lanes {
		queued = append(queued, queue...)
		w.lanes[subject] = nil
	}
	w.mu.Unlock()
	for _, m := range queued {
		w.giveBack(m, 0)
	}
}

// returnBuffered hands back what came after the last pull had been given up.
func returnBuffered(ctx context.Context, messages jetstream.MessagesContext) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handBack)
	defer cancel()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return
		}
		if err := m.Nak(); err != nil {
			return
		}
	}
}
