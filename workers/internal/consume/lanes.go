package consume

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// The most that a worker holds beyond twice its concurrency, of accounts that are over their
// limit. Guesses: a flood of seconds, in little memory. The broker redelivers all of it after
// the ack wait if the process is killed.
const (
	mostExtra      = 7500     // Messages, so that two workers stay below the consumer's max_ack_pending; one more pull may go beyond.
	mostExtraBytes = 16 << 20 // Bytes of all messages that are held; likewise.
)

// lane is what a worker holds of one account.
type lane struct {
	subject string          // Of one of its messages.
	waiting []jetstream.Msg // In order of arrival. No other message of their subjects is handled or waits here.
	held    int             // Messages that are delivered and not yet acked or returned.
}

// accountOf is a message's subject without its last token, which names the payment.
func accountOf(m jetstream.Msg) string {
	return m.Subject()[:max(strings.LastIndexByte(m.Subject(), '.'), 0)]
}

// dispatch queues m behind the message of the same subject that is being handled or waits,
// else in its account's lane. So a burst about one payment takes one slot, and the answer to
// the first message covers the others. It never blocks.
func (w *worker) dispatch(ctx context.Context, m jetstream.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	account := accountOf(m)
	l := w.lanes[account]
	if l == nil {
		l = &lane{subject: m.Subject()}
		w.lanes[account] = l
	}
	l.held++
	w.held[m] = l
	w.bytes += len(m.Data())
	if queue, busy := w.behind[m.Subject()]; busy {
		w.behind[m.Subject()] = append(queue, m)
		return
	}
	w.behind[m.Subject()] = nil
	if l.waiting = append(l.waiting, m); len(l.waiting) == 1 {
		w.turns = append(w.turns, l)
	}
	if w.running < w.Concurrency {
		w.running++
		w.busy.Go(func() { w.handleTurns(ctx) })
	}
}

// handleTurns handles waiting messages until none waits.
func (w *worker) handleTurns(ctx context.Context) {
	for m := w.nextTurn(); m != nil; m = w.nextTurn() {
		w.handleSubject(ctx, m)
	}
}

// nextTurn takes the first waiting message of the account whose turn it is. The accounts take
// turns, so that what is queued of one does not delay the next message of another. Without a
// waiting message it ends the caller's slot and returns nil.
func (w *worker) nextTurn() jetstream.Msg {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.turns) == 0 {
		w.running--
		return nil
	}
	l := w.turns[0]
	w.turns = w.turns[1:]
	m := l.waiting[0]
	if l.waiting = l.waiting[1:]; len(l.waiting) > 0 {
		w.turns = append(w.turns, l)
	}
	return m
}

// room is how many messages may be pulled now. Accounts that are over their limit take three
// quarters of the worker's capacity at most: what is held of them beyond that is extra, so that
// the messages behind it are pulled, too. Of all other accounts at most two and a half times
// Concurrency are held then, so that a pull is not small.
func (w *worker) room() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	over := 0
	for _, l := range w.lanes {
		if w.OverLimit != nil && w.OverLimit(l.subject) {
			over += l.held
		}
	}
	room := 2*w.Concurrency - len(w.held)
	if extra := over - w.Concurrency*3/2; extra > 0 && extra < mostExtra && w.bytes < mostExtraBytes {
		room += extra + 2*w.Concurrency
	}
	return max(room, 0)
}
