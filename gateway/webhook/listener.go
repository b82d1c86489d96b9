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

	"github.com/valyala/fasthttp"
)

// How long, and for how many bytes, we listen to a client that we have
// already refused. Closing a socket with unread bytes makes the kernel send a
// reset, and a client that is still sending then loses the answer unread.
const (
	lingerTime  = time.Second
	lingerBytes = 16 << 20
)

// mostLingering is how many refused clients we listen to at once, beside the
// open connections. Each costs a goroutine and a buffer, 20 KiB together. The
// next ones may see a reset instead of their answer.
const mostLingering = 512

// When all slots are taken and another client waits, a connection that has
// waited for its own client for at least patientFor may be closed for it: an
// idle one, or one whose first header or whose body is slow. A good
// client sends a request at once, and a load balancer that has had no request
// for so long has others. The one that has waited longest of sampleSize is taken,
// so that the search costs microseconds however many are open. The next try is
// after roomEvery.
const (
	patientFor = 500 * time.Millisecond
	sampleSize = 256
	roomEvery  = 10 * time.Millisecond
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
	lingering chan struct{}      // One for each client that may be listened to after that.
	evicted   func()             // Told of each connection that is closed to make room.
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
		lingering: make(chan struct{}, mostLingering), evicted: func() {},
	}
}

// Accept waits for the next connection and a slot for it.
func (l *listener) Accept() (net.Conn, error) {
	l.begin.Do(func() { close(l.accepting) })
	raw, err := l.next()
	if err != nil {
		return nil, err
	}
	if err := l.enter(); err != nil {
		_ = raw.Close()
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, listener: l}
	c.wait(time.Now())
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

// enter waits for a slot, and makes room when there is none.
func (l *listener) enter() error {
	select {
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	again := time.NewTicker(roomEvery)
	defer again.Stop()
	for {
		l.makeRoom(time.Now())
		select {
		case l.slots <- struct{}{}:
			return nil
		case <-again.C:
		case <-l.closed:
			return net.ErrClosed
		}
	}
}

// makeRoom ends the wait of the connection that has waited longest for its
// client. One whose next request begins at that moment is served: fasthttp then
// sets another deadline.
func (l *listener) makeRoom(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest, since, seen := (*conn)(nil), now.Add(-patientFor).UnixNano(), 0
	for c := range l.open {
		if at := c.waiting.Load(); at != 0 && at < since {
			longest, since = c, at
		}
		if seen++; seen == sampleSize {
			break
		}
	}
	if longest != nil && longest.waiting.CompareAndSwap(since, 0) {
		_ = longest.raw.SetReadDeadline(now)
		l.evicted()
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
	linger   atomic.Bool  // Close waits until the client has had its answer.
	trusted  atomic.Bool  // A webhook on it was authenticated.
	waiting  atomic.Int64 // Since when, in Unix nanoseconds, it waits for its client; 0 while we are at work.
	once     sync.Once
}

func (c *conn) wait(now time.Time) { c.waiting.Store(now.UnixNano()) }

// client is the connection that fasthttp serves, nil if it is none of ours.
func client(served net.Conn) *conn {
	switch c := served.(type) {
	case *conn:
		return c
	case *secured:
		return c.conn
	}
	return nil
}

// trust says that the request's caller is authenticated. Until the body has come the
// connection waits for its client all the same: with one account's path key many
// slow bodies would take every slot.
func trust(rc *fasthttp.RequestCtx) {
	if c := client(rc.Conn()); c != nil {
		c.trusted.Store(true)
	}
}

// work says that the request has come and is being worked on.
func work(rc *fasthttp.RequestCtx) {
	if c := client(rc.Conn()); c != nil {
		c.waiting.Store(0)
	}
}

// trusted reports whether the request's connection has carried an authenticated
// webhook.
func trusted(rc *fasthttp.RequestCtx) bool {
	c := client(rc.Conn())
	return c == nil || c.trusted.Load()
}

// stateChanged is called by fasthttp when a request begins and when its answer
// is written.
func stateChanged(served net.Conn, state fasthttp.ConnState) {
	if c := client(served); c != nil && state == fasthttp.StateIdle {
		c.wait(time.Now())
	}
}

// Close closes the connection, after lingering when that is needed: without its
// slot, which is for clients that are served. Closing twice is allowed.
func (c *conn) Close() error {
	var err error
	c.once.Do(func() {
		c.waiting.Store(0)
		c.listener.leave()
		if c.linger.Load() {
			select {
			case c.listener.lingering <- struct{}{}:
				c.lingeringClose()
				<-c.listener.lingering
			default:
			}
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

// lingeringClose ends our side, so that the client sees the end of the answer, and
// throws away what it is still sending until it ends its own. Under TLS there
// are two sides to end; what comes in is thrown away undeciphered.
func (c *conn) lingeringClose() {
	if secured, ok := c.Conn.(*tls.Conn); ok {
		_ = secured.CloseWrite() // Fails after a failed handshake, where there is nothing to end.
	}
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.raw.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.raw, lingerBytes) // However it ends, the connection is closed next.
}
