package durability_test

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/testbench"
)

// relay is a proxy to a broker that can keep to itself what the broker says.
type relay struct {
	*testbench.Proxy
	silent atomic.Bool
	mute   atomic.Bool   // It keeps answers about the stream to itself.
	asked  chan struct{} // The stream was asked about while the relay was silent or mute.
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{asked: make(chan struct{}, 100)}
	r.Proxy = testbench.NewProxy(t, to, testbench.Pieces(r.listen), testbench.Pieces(r.hush))
	return r
}

// connect returns a client of the broker behind the relay, which reconnects at once.
func (r *relay) connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, _ := testbench.Connect(t, "nats://"+r.Addr, nats.ReconnectWait(time.Millisecond))
	return nc
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
	testbench.Receive(t, "the stream is asked about", r.asked)
}
