package commit_test

import (
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// tearing is a dialer whose connections fail to write, in the middle of the next large
// write that it is asked to tear.
type tearing struct{ next atomic.Bool }

func (d *tearing) Dial(network, address string) (net.Conn, error) {
	nc, err := net.Dial(network, address)
	return &torn{nc, d}, err
}

type torn struct {
	net.Conn
	by *tearing
}

func (c *torn) Write(p []byte) (int, error) {
	if len(p) > 1000 && c.by.next.CompareAndSwap(true, false) {
		n, _ := c.Conn.Write(p[:len(p)/2])
		return n, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	}
	return c.Conn.Write(p)
}

// startTearing is start with a connection that can be torn.
func startTearing(t *testing.T) (*bench, *tearing) {
	t.Helper()
	c, dialer := &bench{t: t, broker: testbench.Start(t)}, &tearing{}
	var err error
	c.nc, err = nats.Connect(c.broker.URL, nats.SetCustomDialer(dialer), nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond))
	testbench.Must(t, err)
	t.Cleanup(c.nc.Close)
	c.Committer, err = commit.New(c.nc, commit.Options{
		Stream: subject.Notifications, Timeout: 20 * time.Second, GroupCommit: func() bool { return true }, Threshold: 3,
		ReconnectGrace: 10 * time.Second,
		Batched:        func(int) { c.batches.Add(1) }, FellApart: func(messages int) { c.fell.Add(int64(messages)) },
	})
	testbench.Must(t, err)
	return c, dialer
}

// large is a message that the client writes at once, so that PublishMsg has the error.
func large(n int) commit.Message {
	m := message(n)
	m.Body = []byte(`"` + strings.Repeat("x", 40_000) + `"`)
	return m
}

func TestMessageWhoseWriteFailedIsSentWithTheNextConnection(t *testing.T) {
	t.Parallel()
	c, dialer := startTearing(t)
	dialer.next.Store(true)
	if err := c.store(t.Context(), large(1)); err != nil || dialer.next.Load() {
		t.Errorf("%v", err)
	}
	c.storedOnce(large(1))
}

func TestBatchWhoseWriteFailedIsSentWithTheNextConnection(t *testing.T) {
	t.Parallel()
	c, dialer := startTearing(t)
	all := make([]commit.Message, 200)
	for i := range all {
		all[i] = large(i)
	}
	allNil(t, c.storeAll(t.Context(), all[:100]...)())
	if c.batches.Load() == 0 {
		t.Error("no batch was sent")
	}
	wait := c.storeAll(t.Context(), all[100:]...)
	dialer.next.Store(true)
	for i, err := range wait() {
		// A queued message fails: it was not sent.
		if err != nil && !isDisconnected(err) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	for id, times := range c.stored() {
		if times != 1 {
			t.Errorf("%s is stored %d times", id, times)
		}
	}
}

func isDisconnected(err error) bool { return errors.Is(err, commit.ErrDisconnected) }
