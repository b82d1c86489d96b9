package process

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ownThread is a connection that is waited for by a thread of its own, where the
// system tells of it as soon as there is something to read. Go 1.26
// (runtime/netpoll.go) waits for all other connections in one queue, in the order in
// which they became readable: an ack of the broker would be read after thousands of
// webhooks. Before this may go, compare the latencies under overload that make bench
// measures with and without it.
type ownThread struct {
	*net.TCPConn
	raw     syscall.RawConn
	limited atomic.Bool // A deadline is set, of which only Go's queue knows.
}

// onItsOwn waits for conn with a thread of its own, if it is a TCP connection.
func onItsOwn(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	return &ownThread{TCPConn: tcp, raw: raw}
}

// Read waits without Go's queue unless there is a deadline.
func (c *ownThread) Read(b []byte) (int, error) {
	if !c.limited.Load() {
		// A goroutine that the last read has woken runs first: until the runtime notices
		// that this thread blocks in a system call, it occupies the processor that Go code
		// needs.
		runtime.Gosched()
		if err := c.raw.Read(waitReadable); err != nil {
			return 0, err //nolint:wrapcheck // The client compares it.
		}
	}
	return c.TCPConn.Read(b) //nolint:wrapcheck // As above.
}

// waitReadable returns when a read would not block: there are bytes, the end, or an error.
// It reports true always, because it has done all that it can.
func waitReadable(socket uintptr) bool {
	one := []unix.PollFd{{Fd: int32(socket), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(one, -1); !errors.Is(err, unix.EINTR) {
			return true
		}
	}
}

// SetDeadline is for reads and writes.
func (c *ownThread) SetDeadline(t time.Time) error {
	c.limited.Store(!t.IsZero())
	return c.TCPConn.SetDeadline(t) //nolint:wrapcheck // As above.
}

// SetReadDeadline holds for reads that begin after it.
func (c *ownThread) SetReadDeadline(t time.Time) error {
	c.limited.Store(!t.IsZero())
	return c.TCPConn.SetReadDeadline(t) //nolint:wrapcheck // As above.
}

// Close ends a read that waits. The system would not wake it for a socket that
// is merely closed.
func (c *ownThread) Close() error {
	err := c.raw.Control(func(socket uintptr) { _ = unix.Shutdown(int(socket), unix.SHUT_RDWR) }) // Shutdown fails for a connection that the other side has reset.
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return errors.Join(os.NewSyscallError("shutdown", err), c.TCPConn.Close())
	}
	return c.TCPConn.Close() //nolint:wrapcheck // As above.
}
