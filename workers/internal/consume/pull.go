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

// fetchWait is how long one pull waits for messages, and the pause before another. It
// also bounds how long an idle worker takes to stop. A guess: two requests a second
// cost the broker nothing.
const fetchWait = 500 * time.Millisecond

// pull dispatches messages until ctx ends. It asks for no more messages than it has
// room for: those in the client's buffer get no heartbeats, and would be
// redelivered. A pull is not cut short, so that messages which the broker has sent are
// returned.
func (w *worker) pull(ctx context.Context) error {
	unanswered, missing := false, 0
	for {
		room := w.awaitRoom(ctx)
		if room == 0 {
			return nil
		}
		limited := w.limit(room)
		if limited == 0 {
			wait.For(ctx, fetchWait)
			continue
		}
		err := w.fetch(ctx, limited)
		if err != nil && ctx.Err() == nil && w.isMissing(ctx, err) {
			missing++
		} else {
			missing = 0
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // The pull was cut short by the stop, which is no failure.
		case err == nil:
			unanswered = false
			if limited < room {
				wait.For(ctx, fetchWait)
			}
			continue
		case missing == maxMissing, errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, jetstream.ErrBadRequest):
			return fmt.Errorf("pull from %s: %w", w.Name, err)
		case !unanswered:
			w.Log.Warn("pull.failed", zap.String("consumer", w.Name), zap.Error(err))
			unanswered = true
		}
		wait.For(ctx, fetchWait)
	}
}

// awaitRoom waits until messages may be pulled and returns how many. It returns 0 once ctx
// has ended.
func (w *worker) awaitRoom(ctx context.Context) int {
	for ctx.Err() == nil {
		if room := w.room(); room > 0 {
			return room
		}
		select {
		case <-w.released:
		case <-ctx.Done():
		}
	}
	return 0
}

// limit is how much of the room Options.Limit allows to use now.
func (w *worker) limit(room int) int {
	if w.Limit == nil {
		return room
	}
	return min(room, w.Limit(room))
}

// fetch dispatches the messages of one pull.
func (w *worker) fetch(ctx context.Context, room int) error {
	batch, err := w.Consumer.Fetch(room, jetstream.FetchMaxWait(fetchWait))
	if err != nil {
		return err
	}
	var unsynced error
	for m := range batch.Messages() {
		if unsynced == nil { // After an error the broker may be gone, and each read would take as long.
			unsynced = w.synced.Await(ctx, m)
		}
		if unsynced != nil {
			w.nak(m, firstDelay)
			continue
		}
		w.dispatch(ctx, m)
	}
	return errors.Join(unsynced, batch.Error())
}

// maxMissing is how many pulls in a row must find the consumer missing before the worker
// ends, 5 to 10 s: a broker whose disk fails, or that is stopping, says so of a consumer that
// it has (found by make powercut), and so does a server of a cluster that was restarted,
// until it has recovered the consumer (found by the ledger; nats-server 2.15.3,
// server/jetstream_api.go, jsConsumerInfoRequest, "have not created a node yet"). The number
// is a guess.
const maxMissing = 10

// isMissing reports whether the consumer or its stream does not exist. "No responders" is
// returned for a deleted consumer and while the broker starts (nats-server 2.15.3,
// server/client.go, processInboundClientMsg), so the broker is asked which it is. Before
// the question may go, check that a pull from a deleted consumer is answered with an error
// of its own.
func (w *worker) isMissing(ctx context.Context, err error) bool {
	if errors.Is(err, nats.ErrNoResponders) {
		ctx, cancel := context.WithTimeout(ctx, w.AckWait)
		defer cancel()
		_, err = w.Consumer.Info(ctx)
	}
	return errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
		errors.Is(err, jetstream.ErrStreamNotFound)
}

// handleSubject handles m and then every message that was queued behind it.
func (w *worker) handleSubject(ctx context.Context, m jetstream.Msg) {
	for subject, more := m.Subject(), true; more; m, more = w.next(subject) {
		if ctx.Err() != nil {
			w.nak(m, 0)
		} else {
			w.process(m)
		}
	}
}

// next takes the next queued message of a subject. Without one, the subject's queue is
// removed.
func (w *worker) next(subject string) (m jetstream.Msg, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	queue := w.behind[subject]
	if len(queue) == 0 {
		delete(w.behind, subject)
		return nil, false
	}
	w.behind[subject] = queue[1:]
	return queue[0], true
}

// returnQueued returns the queued messages to the broker, so that other workers need
// not wait for the grace.
func (w *worker) returnQueued() {
	w.mu.Lock()
	var queued []jetstream.Msg
	for subject, queue := range w.behind {
		queued = append(queued, queue...)
		w.behind[subject] = nil
	}
	for _, l := range w.turns {
		queued = append(queued, l.waiting...)
		l.waiting = nil
	}
	w.turns = nil
	w.mu.Unlock()
	for _, m := range queued {
		w.nak(m, 0)
	}
}
