package reconcile_test

import (
	"sync/atomic"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
)

// wire is a proxy between one role and the broker that can be cut, slowed and reset. It
// keeps the address while the broker behind it dies and returns.
type wire struct {
	*testbench.Proxy
	delay atomic.Int64
}

// newWire listens until the test ends.
func newWire(t testing.TB, upstream string) *wire {
	t.Helper()
	w := &wire{}
	w.Proxy = testbench.NewProxy(t, upstream, testbench.Pieces(w.late), testbench.Pieces(w.late))
	return w
}

// late passes a piece after the delay in force.
func (w *wire) late(piece []byte) []byte {
	if delay := time.Duration(w.delay.Load()); delay > 0 {
		<-time.After(delay)
	}
	return piece
}

// sever cuts the wire: what is open ends, and nothing new gets through.
func (w *wire) sever() {
	w.Refuse(true)
	w.Cut()
}

// slow delays every piece from now on, in both directions.
func (w *wire) slow(delay time.Duration) { w.delay.Store(int64(delay)) }

// mend makes it a wire again.
func (w *wire) mend() {
	w.Refuse(false)
	w.slow(0)
}
