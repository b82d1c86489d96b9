package consume_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/workers/internal/consume"
)

// one is a handler for a worker of one message at a time. It waits with the first message
// until the test releases it, and notes the order.
type one struct {
	rig     *rig
	pulls   atomic.Int64
	release chan struct{}
	order   chan string
}

func (r *rig) one(messages int) *one {
	return &one{rig: r, release: make(chan struct{}), order: make(chan string, messages)}
}

func (o *one) handle(_ context.Context, m jetstream.Msg) error {
	<-o.release
	o.order <- strings.TrimPrefix(m.Subject(), "work.")
	return nil
}

// dispatched waits until the worker has dispatched so many messages: it has begun another
// pull since they were delivered.
func (o *one) dispatched(messages int) {
	o.rig.T.Helper()
	o.rig.Until("all are delivered", func() bool { return o.rig.info().NumAckPending == messages })
	before := o.pulls.Load()
	o.rig.Until("the worker pulls again", func() bool { return o.pulls.Load() > before })
}

// options are those of a worker to which every account, or those named, is over its limit.
func (o *one) options(over ...string) consume.Options {
	options := o.rig.options(1)
	options.Limit = func(want int) int { o.pulls.Add(1); return want }
	options.OverLimit = func(on string) bool {
		account, _, _ := strings.Cut(strings.TrimPrefix(on, "work."), ".")
		return len(over) == 0 || slices.Contains(over, account)
	}
	return options
}

func TestAccountsTakeTurns(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ stored, want string }{
		"one account":                  {"a.1 a.2 a.3", "a.1 a.2 a.3"},
		"a quiet account behind a lot": {"a.1 a.2 a.3 a.4 b.1", "a.1 a.2 b.1 a.3 a.4"},
		"three accounts":               {"a.1 a.2 a.3 b.1 b.2 c.1", "a.1 a.2 b.1 c.1 a.3 b.2"},
		"a burst about one payment":    {"a.1 a.1 a.2 a.2 a.3 b.1 b.1", "a.1 a.1 a.2 a.2 b.1 b.1 a.3"},
		"a payment that is handled":    {"a.1 b.1 a.1 a.2", "a.1 a.1 b.1 a.2"},
		"subjects without an account":  {"x y z", "x y z"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t, never)
			stored := strings.Fields(c.stored)
			r.publish(stored...)
			o := r.one(len(stored))
			w := r.start(o.options(), o.handle)
			o.dispatched(len(stored))
			close(o.release)
			if got := strings.Join(receive(r, o.order, len(stored)), " "); got != c.want {
				t.Errorf("%s was handled as %s, want %s", c.stored, got, c.want)
			}
			w.end()
			r.checkDone()
		})
	}
}

// A flood of one account does not delay the next message of another.
func TestQuietAccountIsHandledNextBehindAFlood(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	const flood, concurrency = 5000, 64
	for i := range flood {
		_, err := r.JS.PublishAsync(fmt.Sprintf("work.a.%d", i), nil)
		r.Must(err)
		if i%1000 == 999 {
			<-r.JS.PublishAsyncComplete()
		}
	}
	r.publish("b.1")
	o := r.one(flood + 1)
	options := o.options("a")
	options.Concurrency = concurrency
	w := r.start(options, o.handle)
	o.dispatched(flood + 1)
	close(o.release)
	first := receive(r, o.order, 2*concurrency) // The messages that were being handled when b.1 was dispatched, and as many again.
	if !slices.Contains(first, "b.1") {
		t.Errorf("first %v were handled, with b.1 behind %d of another account", first, flood)
	}
	w.end()
	returned := flood + 1 - len(first) - len(o.order)
	batch, err := r.consumer.Fetch(returned, jetstream.FetchMaxWait(time.Minute))
	r.Must(err)
	all := newLedger()
	for m := range batch.Messages() {
		r.Must(all.note(m))
	}
	if n := all.distinct(); n != returned {
		t.Errorf("the stop returned %d messages to the broker, want %d", n, returned)
	}
}

// Of an account that another worker could serve sooner no more than usual is held.
func TestOnlyAccountsOverTheirLimitAreHeldBeyondThePrefetch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		over    []string
		stored  int // Of each of two accounts.
		bytes   int // Of each.
		atLeast int
		atMost  int
	}{
		"no account is":               {over: []string{"c"}, stored: 10, atLeast: 2, atMost: 2},
		"one is":                      {over: []string{"a"}, stored: 10, atLeast: 13, atMost: 13},
		"all are":                     {stored: 10, atLeast: 20, atMost: 20},
		"all are, of many bytes each": {stored: 10, bytes: 1<<20 - 100, atLeast: 17, atMost: 19},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t, never)
			for _, account := range []string{"a", "b"} {
				for i := range c.stored {
					_, err := r.JS.Publish(r.Ctx, fmt.Sprintf("work.%s.%d", account, i), make([]byte, c.bytes))
					r.Must(err)
				}
			}
			o := r.one(2 * c.stored)
			w := r.start(o.options(c.over...), o.handle)
			r.Until("enough are held, and the worker wants no more", func() bool {
				info := r.info()
				return info.NumAckPending >= c.atLeast && (info.NumWaiting == 0 || info.NumPending == 0)
			})
			if held := r.info().NumAckPending; held > c.atMost {
				t.Errorf("%d messages are held, want at most %d", held, c.atMost)
			}
			close(o.release)
			r.Until("all are handled", func() bool { return len(o.order) == 2*c.stored })
			w.end()
			r.checkDone()
		})
	}
}

// What was handled of an account that is over its limit does not count any more.
func TestHandledFloodMakesNoMoreRoom(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	o := r.one(20)
	quiet := make(chan struct{}, 20)
	w := r.start(o.options("a"), func(ctx context.Context, m jetstream.Msg) error {
		if strings.HasPrefix(m.Subject(), "work.a.") {
			return nil
		}
		quiet <- struct{}{}
		return o.handle(ctx, m)
	})
	for i := range 20 {
		r.publish(fmt.Sprintf("a.%d", i))
	}
	r.Until("the flood is handled", func() bool { return r.info().AckFloor.Stream == 20 })
	for i := range 20 {
		r.publish(fmt.Sprintf("b.%d", i))
	}
	receive(r, quiet, 1)
	r.Until("the worker wants no more", func() bool { info := r.info(); return info.NumAckPending >= 2 && info.NumWaiting == 0 })
	if held := r.info().NumAckPending; held > 3 { // One more than usual, if they were asked for during the flood.
		t.Errorf("%d messages of another account are held, want at most 3", held)
	}
	close(o.release)
	receive(r, o.order, 20)
	w.end()
	r.checkDone()
}
