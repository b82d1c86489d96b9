package durability_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// relay stands between a client and a broker. It can keep what the broker says
// to itself, and cut every connection.
type relay struct {
	net.Listener
	to     string
	silent atomic.Bool
	mute   atomic.Bool   // It keeps answers about the stream to itself.
	down   atomic.Bool   // It takes no connections.
	asked  chan struct{} // The stream was asked about while the relay was silent or mute.

	mu   sync.Mutex
	open []net.Conn
	busy sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: ln, to: to, asked: make(chan struct{}, 100)}
	r.busy.Go(r.accept)
	t.Cleanup(func() { _ = ln.Close(); r.cut(); r.busy.Wait() })
	return r
}

// connect returns a client of the broker behind the relay, which comes back at
// once.
func (r *relay) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://"+r.Addr().String(), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func (r *relay) accept() {
	for {
		client, err := r.Accept()
		if err != nil {
			return
		}
		broker, err := net.Dial("tcp", r.to)
		if err != nil || r.down.Load() {
			_ = client.Close() // As the broker's host would.
			if err == nil {
				_ = broker.Close()
			}
			continue
		}
		r.mu.Lock()
		r.open = append(r.open, client, broker)
		r.mu.Unlock()
		r.busy.Go(func() { r.pass(broker, client, r.listen) })
		r.busy.Go(func() { r.pass(client, broker, r.hush) })
	}
}

// pass copies until one of the two is closed. through says what goes on.
func (r *relay) pass(to io.WriteCloser, from io.ReadCloser, through func([]byte) []byte) {
	defer from.Close() //nolint:errcheck // It is over either way.
	defer to.Close()   //nolint:errcheck // As above.
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if _, err := to.Write(through(b[:n])); err != nil {
			return
		}
	}
}

func (r *relay) listen(b []byte) []byte {
	if bytes.Contains(b, []byte("STREAM.INFO")) && (r.silent.Load() || r.mute.Load()) {
		r.asked <- struct{}{}
	}
	return b
}

func (r *relay) hush(b []byte) []byte {
	if r.silent.Load() || r.mute.Load() && bytes.Contains(b, []byte("stream_info_response")) {
		return nil
	}
	return b
}

// question waits until the stream is asked about while the relay is silent.
func (r *relay) question(t *testing.T) {
	t.Helper()
	select {
	case <-r.asked:
	case <-time.After(time.Minute):
		t.Fatal("the stream was not asked about")
	}
}

// cut ends every connection that is open now.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.open {
		_ = c.Close() // It may be closed already.
	}
	r.open = nil
}
