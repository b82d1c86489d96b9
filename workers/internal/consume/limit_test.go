package consume_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// A worker pulls only messages that it may handle now.
func TestPullKeepsTheLimit(t *testing.T) {
	t.Parallel()
	r := setup(t, never)
	r.publish("a", "b", "c", "d")
	var allowed, asked atomic.Int32 // Messages that may still be pulled.
	o := r.options(2)
	o.Limit = func(want int) int {
		asked.Add(1)
		n := min(int32(want), allowed.Load())
		allowed.Add(-n)
		return int(n)
	}
	handled := make(chan string, 4)
	r.start(o, func(_ context.Context, m jetstream.Msg) error { handled <- m.Subject(); return nil })
	for _, more := range []int32{0, 1, 3} {
		allowed.Store(more)
		receive(r, handled, int(more))
		before := asked.Load()
		r.Until("it is asked again", func() bool { return asked.Load() >= before+2 })
		if len(handled) != 0 {
			t.Errorf("it pulled more than %d messages", more)
		}
	}
}
