package consume

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/wait"
)

// fetchWait is how long one pull waits for messages. It also bounds how long an
// idle worker takes to stop, and a lost pull to be made anew.
const fetchWait = 500 * time.Millisecond

// pull dispatches messages until ctx ends. It never asks for more than there
// is room to hold: what waited in the client's own buffer would get no sign of
// life, and come again while handlers are slow. A pull is not abandoned but
// waited for, so that what the broker sent meanwhile is handed back.
func (w *worker) pull(ctx context.Context) error {
	silent := false
	for {
		room := w.takeRoom(ctx)
		if room == 0 {
			return nil
		}
		limited := w.limit(room)
		if limited == 0 {
			wait.For(ctx, fetchWait)
			continue
		}
		err := w.fetch(ctx, limited)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // The pull was cut short by the stop, which is no failure.
		case err == nil:
			silent = false
			if limited < room {
				wait.For(ctx, fetchWait)
			}
			continue
		case w.unrecoverable(ctx, err):
			return fmt.Errorf("pull from %s: %w", w.Name, err)
		case !silent:
			w.Log.Warn("consumer does not answer", zap.String("consumer", w.Name), zap.Error(err))
			silent = true
		}
		wait.For(ctx, fetchWait)
	}
}

// takeRoom waits for room and takes all that there is. 0 means that ctx has
// ended.
func (w *worker) takeRoom(ctx context.Context) (room int) {
	select {
	case w.room <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	for room = 1; ; room++ {
		select {
		case w.room <- struct{}{}:
		default:
			return room
		}
	}
}

// limit gives back the room that is not to be used now, and returns the rest.
func (w *worker) limit(room int) int {
	if w.Limit == nil {
		return room
	}
	limited := min(room, w.Limit(room))
	for range room - limited {
		<-w.room
	}
	return limited
}

// fetch dispatches what comes in one pull and returns the room that it does
// not need.
func (w *worker) fetch(ctx context.Context, room int) error {
	defer func() {
		for range room {
			<-w.room
		}
	}()
	batch, err := w.Consumer.Fetch(room, jetstream.FetchMaxWait(fetchWait))
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		w.dispatch(ctx, m)
		room--
	}
	return batch.Error()
}

// unrecoverable reports whether pulling again cannot help. Nobody answers for a
// consumer that does not exist, nor for one whose broker is just starting, so
// the broker is asked which it is.
func (w *worker) unrecoverable(ctx context.Context, err error) bool {
	if errors.Is(err, nats.ErrNoResponders) {
		ctx, cancel := context.WithTimeout(ctx, w.AckWait)
		defer cancel()
		_, err = w.Consumer.Info(ctx)
	}
	for _, end := range []error{
		nats.ErrConnectionClosed, jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound,
		jetstream.ErrStreamNotFound, jetstream.ErrBadRequest,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
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
			w.nak(m, 0)
		} else {
			w.process(m)
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
		w.nak(m, 0)
	}
}
