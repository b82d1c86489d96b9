package webhook

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// How long, and for how many bytes, we listen to a client that we have
// already refused. Closing a socket with unread bytes makes the kernel send a
// reset, and a client that is still sending then loses the answer unread.
const (
	lingerTime  = time.Second
	lingerBytes = 16 << 20
)

// acceptPause is how long accepting rests when the process is out of file
// descriptors; fasthttp would stop serving for good.
const acceptPause = 50 * time.Millisecond

// listener bounds how many connections are open, lets refused clients read
// their answer, and knows what is open when it is time to stop.
type listener struct {
	net.Listener
	secure    *tls.Config        // Nil for plain HTTP.
	failed    func(*conn, error) // Told of each handshake that failed.
	slots     chan struct{}      // One for each connection that may be open.
	accepting chan struct{}      // Closed by the first Accept.
	closed    chan struct{}
	begin     sync.Once
	end       sync.Once

	mu   sync.Mutex
	open map[*conn]struct{}
	wait sync.WaitGroup
}

// newListener serves at most limit connections at once.
func newListener(ln net.Listener, limit int) *listener {
	return &listener{
		Listener: ln, accepting: make(chan struct{}), closed: make(chan struct{}),
		open: make(map[*conn]struct{}), slots: make(chan struct{}, limit),
	}
}

// Accept waits for a free slot and the next connection.
func (l *listener) Accept() (net.Conn, error) {
	l.begin.Do(func() { close(l.accepting) })
	if err := l.enter(); err != nil {
		return nil, err
	}
	raw, err := l.next()
	if err != nil {
		l.leave()
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, listener: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = struct{}{}
	l.wait.Add(1)
	if l.secure == nil {
		return c, nil
	}
	// The handshake is not made here, where it would hold up everybody else.
	s := &secured{conn: c, tls: tls.Server(raw, l.secure)}
	c.Conn = s.tls
	return s, nil
}

// enter waits for a slot.
func (l *listener) enter() error {
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-l.closed:
		return net.ErrClosed
	}
}

func (l *listener) leave() { <-l.slots }

func (l *listener) next() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
			return raw, err
		}
		pause := time.NewTimer(acceptPause)
		select {
		case <-pause.C:
		case <-l.closed:
			pause.Stop()
			return nil, net.ErrClosed
		}
	}
}

// Close stops accepting. Open connections stay.
func (l *listener) Close() error {
	var err error
	l.end.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}

func (l *listener) release(c *conn) {
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
	l.leave()
	l.wait.Done()
}

// sever closes every connection that is still open, at once.
func (l *listener) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.raw.Close() // Below TLS, whose farewell could wait for the client.
	}
}

// conn is one client's connection.
type conn struct {
	net.Conn
	raw      net.Conn // The socket, which is below TLS where there is TLS.
	listener *listener
	linger   atomic.Bool // Close waits until the client has had its answer.
	once     sync.Once
}

// Close closes the connection, after lingering when that is needed. Closing
// twice is allowed.
func (c *conn) Close() error {
	var err error
	c.once.Do(func() {
		if c.linger.Load() {
			c.hear()
		}
		err = c.Conn.Close()
		c.listener.release(c)
	})
	return err
}

func (c *conn) lingerAtClose() { c.linger.Store(true) }

// SetWriteDeadline reports nothing. fasthttp panics when it fails, which it
// does when the connection was closed meanwhile, at the end of a graceful
// stop; the write that follows fails too, and that is enough.
func (c *conn) SetWriteDeadline(t time.Time) error {
	_ = c.Conn.SetWriteDeadline(t)
	return nil
}

// hear ends our side, so that the client sees the end of the answer, and
// throws away what it is still sending until it ends its own. Under TLS there
// are two sides to end; what comes in is thrown away undeciphered.
func (c *conn) hear() {
	if secured, ok := c.Conn.(*tls.Conn); ok {
		_ = secured.CloseWrite() // Fails after a failed handshake, where there is nothing to end.
	}
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.raw.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.raw, lingerBytes) // However it ends, the connection is closed next.
}
