// Package committest has a network between a committer and its broker, for tests.
package committest

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Wire is a TCP proxy between a client and the broker that can delay, lose and cut what
// passes. It ends with the test.
type Wire struct {
	URL string // Where clients connect.

	LoseBatchAcks  atomic.Int32 // How many acks of batches are still to be lost.
	LoseSingleAcks atomic.Int32 // How many acks of single messages are still to be lost.

	answers sync.Mutex // Held while the broker's bytes are held back.

	mu         sync.Mutex
	severed    bool          // No connection is made any more.
	blackholed chan struct{} // New connections are accepted and get no byte; one value for each. Nil for not.
	open       []net.Conn
}

// NewWire is a proxy to the broker at url.
func NewWire(t testing.TB, url string) *Wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{URL: "nats://" + ln.Addr().String()}
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
			if w.keepUnanswered(near) {
				continue
			}
			far, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "nats://"))
			if err != nil || !w.keep(near, far) {
				_ = near.Close()
				continue
			}
			ended.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
			ended.Go(func() { w.copyAnswers(near, far); _ = near.Close() })
		}
	})
	return w
}

// Hold holds the broker's bytes back until release is called or the test ends.
func (w *Wire) Hold(t testing.TB) (release func()) {
	t.Helper()
	w.answers.Lock()
	release = sync.OnceFunc(w.answers.Unlock)
	t.Cleanup(release)
	return release
}

// keep remembers the connections, and reports false after Sever.
func (w *Wire) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.severed {
		for _, c := range conns[1:] {
			_ = c.Close()
		}
		return false
	}
	w.open = append(w.open, conns...)
	return true
}

// Cut closes every open connection. Bytes that were held back are lost.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

// keepUnanswered keeps a new connection without an answer, and reports whether it did.
func (w *Wire) keepUnanswered(near net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blackholed == nil {
		return false
	}
	w.open = append(w.open, near)
	select {
	case w.blackholed <- struct{}{}:
	default:
	}
	return true
}

// Blackhole cuts the wire and accepts new connections without ever answering. It returns a
// value for each of them.
func (w *Wire) Blackhole() (connected <-chan struct{}) {
	w.mu.Lock()
	w.blackholed = make(chan struct{}, 1)
	w.mu.Unlock()
	w.Cut()
	return w.blackholed
}

// Sever cuts the wire for good.
func (w *Wire) Sever() {
	w.mu.Lock()
	w.severed = true
	w.mu.Unlock()
	w.Cut()
}

func (w *Wire) copyAnswers(near, far net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := far.Read(buffer)
		w.answers.Lock()
		misdirect(buffer[:n], `"batch":`, &w.LoseBatchAcks)
		misdirect(buffer[:n], `{"stream":"NOTIFICATIONS","seq":`, &w.LoseSingleAcks)
		if n > 0 {
			_, _ = near.Write(buffer[:n])
		}
		w.answers.Unlock()
		if err != nil {
			return
		}
	}
}

// misdirect changes the subject of acks that contain a word, so that no subscription gets
// them, until none is left to lose.
func misdirect(answers []byte, word string, lose *atomic.Int32) {
	for from := 0; lose.Load() > 0; {
		at := bytes.Index(answers[from:], []byte(word))
		if at < 0 {
			return
		}
		if line := bytes.LastIndex(answers[:from+at], []byte("MSG ")); line >= 0 {
			subject := answers[line+len("MSG "):]
			subject[bytes.IndexByte(subject, ' ')-1] = '!'
			lose.Add(-1)
		}
		from += at + 1
	}
}
