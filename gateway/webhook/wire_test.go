package webhook_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// wire carries a connection to the broker, can hold back what the broker says,
// and can cut what is open.
type wire struct {
	addr string
	back sync.Mutex

	lose     atomic.Int32 // So many confirmations of batches will not arrive,
	loseLone atomic.Int32 // and so many of messages that went alone.

	mu   sync.Mutex
	gone bool          // Nothing gets through any more.
	mute chan struct{} // Who connects is accepted and hears nothing, and a word comes from here; nil for not.
	open []net.Conn
}

func newWire(t *testing.T, url string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: ln.Addr().String()}
	var ended sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		ended.Wait()
	})
	ended.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			if w.muted(near) {
				continue
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
			if err != nil || !w.keep(near, far) {
				_ = near.Close()
				continue
			}
			ended.Go(func() { defer far.Close(); _, _ = io.Copy(far, near) })
			ended.Go(func() { defer near.Close(); w.giveBack(near, far) })
		}
	})
	return w
}

// hold keeps back what the broker says until release is called, or the test
// ends.
func (w *wire) hold(t *testing.T) (release func()) {
	t.Helper()
	w.back.Lock()
	release = sync.OnceFunc(w.back.Unlock)
	t.Cleanup(release)
	return release
}

func (w *wire) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		for _, c := range conns[1:] {
			_ = c.Close()
		}
		return false
	}
	w.open = append(w.open, conns...)
	return true
}

// cut ends every open connection. What the broker said and was held back is
// lost.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

// muted keeps a connection that is to hear nothing.
func (w *wire) muted(near net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mute == nil {
		return false
	}
	w.open = append(w.open, near)
	select {
	case w.mute <- struct{}{}:
	default:
	}
	return true
}

// silence cuts the wire, and lets nobody hear anything who comes back. It tells
// of each who does.
func (w *wire) silence() (came <-chan struct{}) {
	w.mu.Lock()
	w.mute = make(chan struct{}, 1)
	w.mu.Unlock()
	w.cut()
	return w.mute
}

// sever cuts the wire for good.
func (w *wire) sever() {
	w.mu.Lock()
	w.gone = true
	w.mu.Unlock()
	w.cut()
}

func (w *wire) giveBack(near, far net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := far.Read(buffer)
		w.back.Lock()
		misdirect(buffer[:n], `"batch":`, &w.lose)
		misdirect(buffer[:n], `{"stream":"NOTIFICATIONS","seq":`, &w.loseLone)
		if n > 0 {
			_, _ = near.Write(buffer[:n])
		}
		w.back.Unlock()
		if err != nil {
			return
		}
	}
}

// misdirect makes confirmations that have a word arrive for nobody, as if the
// broker had never sent them, as many as are to be lost.
func misdirect(said []byte, word string, lose *atomic.Int32) {
	for from := 0; lose.Load() > 0; {
		at := bytes.Index(said[from:], []byte(word))
		if at < 0 {
			return
		}
		if line := bytes.LastIndex(said[:from+at], []byte("MSG ")); line >= 0 {
			subject := said[line+len("MSG "):]
			subject[bytes.IndexByte(subject, ' ')-1] = '!'
			lose.Add(-1)
		}
		from += at + 1
	}
}
