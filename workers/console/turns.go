package console

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"arauto/workers/console/access"
)

// Bounds of costly pages. Each may take some 10 MB: 4 at once fit beside the index in what the
// console may use. Guesses.
const (
	turnsAtOnce = 4
	readerTurns = 10              // Of one reader, waiting requests included.
	turnWait    = 5 * time.Second // How long a request waits for its turn.
)

// errBusy means that too many costly pages are being made.
var errBusy = errors.New("too many pages are being made")

// turns bounds how many costly pages are made at a time. It is safe for concurrent use.
type turns struct {
	slots chan struct{}
	wait  time.Duration // turnWait, but in tests.

	mu sync.Mutex
	of map[string]int // Turns by reader, waiting requests included.
}

func newTurns() *turns {
	return &turns{slots: make(chan struct{}, turnsAtOnce), wait: turnWait, of: map[string]int{}}
}

// take waits for a turn of a reader. leave gives it back, once. After the wait, and for a
// reader with too many turns, take returns errBusy.
func (t *turns) take(ctx context.Context, reader string) (leave func(), err error) {
	if !t.enter(reader) {
		return nil, errBusy
	}
	timer := time.NewTimer(t.wait)
	defer timer.Stop()
	select {
	case t.slots <- struct{}{}:
		return sync.OnceFunc(func() {
			<-t.slots
			t.exit(reader)
		}), nil
	case <-timer.C:
		err = errBusy
	case <-ctx.Done():
		err = ctx.Err()
	}
	t.exit(reader)
	return nil, err
}

func (t *turns) enter(reader string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[reader] >= readerTurns {
		return false
	}
	t.of[reader]++
	return true
}

func (t *turns) exit(reader string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[reader]--; t.of[reader] == 0 {
		delete(t.of, reader)
	}
}

// isCostly reports whether a request reads hundreds of messages or copies thousands of dead
// letters.
func isCostly(r *http.Request) bool {
	switch r.URL.Path {
	case "/dead", "/act/" + verbRedrive, "/act/" + verbDiscard:
		return true
	case "/payments":
		return r.URL.Query().Get("q") != ""
	}
	return false
}

// turn takes a turn for a costly request. leave gives it back; it is never nil.
func (s *site) turn(r *http.Request) (leave func(), err error) {
	if !isCostly(r) {
		return func() {}, nil
	}
	leave, err = s.turns.take(r.Context(), access.Sender(r.Context()))
	if err != nil {
		return func() {}, err
	}
	return leave, nil
}
