package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
)

func TestTurnsAreBoundedInAllAndForEachReader(t *testing.T) {
	t.Parallel()
	all := newTurns()
	all.wait = time.Millisecond
	var leaves []func()
	for n := range turnsAtOnce {
		leave, err := all.take(t.Context(), fmt.Sprint("reader-", n))
		testbench.Must(t, err)
		leaves = append(leaves, leave)
	}
	if _, err := all.take(t.Context(), "late"); !errors.Is(err, errBusy) {
		t.Errorf("a turn too many: %v", err)
	}
	leaves[0]()
	leaves[0]() // A second call gives back nothing.
	leave, err := all.take(t.Context(), "late")
	testbench.Must(t, err)
	leaves = append(leaves[1:], leave)
	if _, err := all.take(t.Context(), "later"); !errors.Is(err, errBusy) {
		t.Errorf("a turn was given back twice: %v", err)
	}
	all.wait = time.Minute
	waiting := make(chan error, readerTurns)
	ctx, cancel := context.WithCancel(t.Context())
	for range readerTurns {
		go func() {
			_, err := all.take(ctx, "many")
			waiting <- err
		}()
	}
	testbench.Until(t, "all of the reader's requests to wait", func() bool {
		all.mu.Lock()
		defer all.mu.Unlock()
		return all.of["many"] == readerTurns
	})
	if _, err := all.take(t.Context(), "many"); !errors.Is(err, errBusy) {
		t.Errorf("a reader with %d turns gets a further one: %v", readerTurns, err)
	}
	cancel()
	for range readerTurns {
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("a request that ended waiting: %v", err)
		}
	}
	for _, leave := range leaves {
		leave()
	}
	if len(all.of) != 0 || len(all.slots) != 0 {
		t.Errorf("turns are left: %v, %d", all.of, len(all.slots))
	}
}

func TestCostlyPagesAreRefusedWhileTooManyAreMade(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.letter("p-1", "odd")
	r.look()
	r.site.turns.wait = time.Millisecond
	var leaves []func()
	for n := range turnsAtOnce {
		leave, err := r.site.turns.take(r.Ctx, fmt.Sprint(n))
		r.Must(err)
		leaves = append(leaves, leave)
	}
	b := r.browser("maria")
	costly := []string{"/dead", "/payments?q=p-1", "/act/redrive?word=odd", "/act/discard?word=odd"}
	for _, path := range costly {
		code, body, _ := b.send(http.MethodGet, path, nil)
		if code != http.StatusServiceUnavailable {
			t.Errorf("GET %s: %d", path, code)
		}
		holds(t, body, "Too many pages are being made")
	}
	if code, body, _ := b.send(http.MethodPost, "/act/discard?word=odd", nil); code != http.StatusForbidden {
		t.Errorf("without a token: %d\n%s", code, body)
	}
	for _, path := range []string{"/", "/payments", "/providers", "/broker"} {
		b.see(path)
	}
	for _, leave := range leaves {
		leave()
	}
	for range 2 * turnsAtOnce { // Each gives its turn back.
		for _, path := range costly {
			b.see(path)
		}
	}
}
