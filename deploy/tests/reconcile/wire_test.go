package reconcile_test

import (
	"net"
	"sync"
	"testing"
	"time"
)

// wire is a TCP proxy between one role and the broker that can be cut, slowed
// and reset. It is our own because it needs no more than this, and keeps the
// address while the broker behind it dies and returns.
type wire struct {
	listener net.Listener
	upstream string
	running  sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	delay time.Duration
	open  map[*net.TCPConn]struct{}
}

// newWire listens until the test ends.
func newWire(t testing.TB, upstream string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It ends with the test.
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, upstream: upstream, open: map[*net.TCPConn]struct{}{}}
	w.running.Go(w.accept)
	t.Cleanup(func() {
		_ = listener.Close() // It ends accept, whatever it says.
		w.sever()
		w.running.Wait()
	})
	return w
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.running.Go(func() { w.connect(client) })
	}
}

func (w *wire) connect(client net.Conn) {
	defer client.Close() //nolint:errcheck // Closing twice is how a cut ends it.
	broker, err := net.DialTimeout("tcp", w.upstream, time.Second)
	if err != nil {
		return
	}
	defer broker.Close() //nolint:errcheck // As above.
	near, isTCP := client.(*net.TCPConn)
	far, both := broker.(*net.TCPConn)
	if !isTCP || !both || !w.keep(near, far) {
		return
	}
	defer w.forget(near, far)
	var halves sync.WaitGroup
	halves.Go(func() { w.carry(near, far) })
	halves.Go(func() { w.carry(far, near) })
	halves.Wait()
}

// carry copies one direction, each piece after the delay in force, and ends
// both when one ends.
func (w *wire) carry(from, to *net.TCPConn) {
	defer from.Close() //nolint:errcheck // It may be closed already.
	defer to.Close()   //nolint:errcheck // It may be closed already.
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			w.mu.Lock()
			delay := w.delay
			w.mu.Unlock()
			if delay > 0 {
				<-time.After(delay)
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (w *wire) keep(conns ...*net.TCPConn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return false
	}
	for _, c := range conns {
		w.open[c] = struct{}{}
	}
	return true
}

func (w *wire) forget(conns ...*net.TCPConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		delete(w.open, c)
	}
}

// sever cuts the wire: what is open ends, and nothing new gets through.
func (w *wire) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for c := range w.open {
		_ = c.Close() // Its carrier may have closed it.
	}
}

// slow delays every piece from now on, in both directions.
func (w *wire) slow(delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = delay
}

// mend makes it a wire again.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut, w.delay = false, 0
}

// reset ends what is open with a TCP reset, so that bytes under way are lost
// on both sides.
func (w *wire) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		_ = c.SetLinger(0) // Closing then sends RST.
		_ = c.Close()
	}
}
