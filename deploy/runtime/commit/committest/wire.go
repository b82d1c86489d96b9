// Package committest has a network between a committer and its broker, for tests.
package committest

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// Wire is a proxy between a client and the broker that can delay and lose answers. It
// ends with the test.
type Wire struct {
	*testbench.Proxy

	URL string // Where clients connect.

	LoseBatchAcks  atomic.Int32 // How many acks of batches are still to be lost.
	LoseSingleAcks atomic.Int32 // How many acks of single messages are still to be lost.

	answers    sync.Mutex    // Held while the broker's bytes are held back.
	blackholed atomic.Bool   // New connections get no byte.
	connected  chan struct{} // One value for each of them.
}

// NewWire is a proxy to the broker at url.
func NewWire(t testing.TB, url string) *Wire {
	t.Helper()
	w := &Wire{connected: make(chan struct{}, 1)}
	w.Proxy = testbench.NewProxy(t, strings.TrimPrefix(url, "nats://"), nil, w.answer)
	w.URL = "nats://" + w.Addr
	return w
}

// Hold holds the broker's bytes back until release is called or the test ends. Cut then
// loses them.
func (w *Wire) Hold(t testing.TB) (release func()) {
	t.Helper()
	w.answers.Lock()
	release = sync.OnceFunc(w.answers.Unlock)
	t.Cleanup(release)
	return release
}

// Blackhole cuts the wire and accepts new connections without ever answering. It returns a
// value for each of them.
func (w *Wire) Blackhole() (connected <-chan struct{}) {
	w.blackholed.Store(true)
	w.Cut()
	return w.connected
}

// Sever cuts the wire for good.
func (w *Wire) Sever() {
	w.Refuse(true)
	w.Cut()
}

// answer copies what the broker says to one connection.
func (w *Wire) answer(to io.Writer, from io.Reader) {
	if w.blackholed.Load() {
		select {
		case w.connected <- struct{}{}:
		default:
		}
		_, _ = io.Copy(io.Discard, from) // It ends with the connection.
		return
	}
	testbench.Pieces(func(answers []byte) []byte {
		w.answers.Lock()
		defer w.answers.Unlock()
		misdirect(answers, `"batch":`, &w.LoseBatchAcks)
		misdirect(answers, `{"stream":"NOTIFICATIONS","seq":`, &w.LoseSingleAcks)
		return answers
	})(to, from)
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
