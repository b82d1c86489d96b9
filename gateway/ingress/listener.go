package ingress

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// While every slot is taken and another client waits, one connection is evicted every
// evictionInterval: of evictionSample open connections, the one that has waited for its
// client the longest, and for evictAfter at least. It is idle, or its request comes slowly.
// Guesses; the sample bounds the search to microseconds.
const (
	evictAfter       = 500 * time.Millisecond
	evictionSample   = 256
	evictionInterval = 10 * time.Millisecond
)

// acceptRetry is the pause after accept failed for want of file descriptors. A guess.
// fasthttp 1.78.0 (server.go, acceptConn) ends the server for good at such an error. Before
// acceptSocket may go, check that acceptConn tries again after EMFILE and ENFILE.
const acceptRetry = 50 * time.Millisecond

// listener bounds the open connections, and closes them when the server stops.
type listener struct {
	net.Listener
	tlsConfig       *tls.Config        // Nil for plain HTTP.
	handshakeFailed func(*conn, error) // Called for each failed handshake.
	proxies         Proxies
	proxyFailed     func(net.Addr, error) // Called for each connection without a PROXY protocol header.
	slots           chan struct{}         // Holds a value for each connection that is served.
	lingering       chan struct{}         // Holds a value for each lingering close.
	evicted         func()                // Called for each eviction.
	accepting       chan struct{}         // Closed by the first Accept.
	closed          chan struct{}
	acceptOnce      sync.Once
	closeOnce       sync.Once

	mu    sync.Mutex
	open  map[*conn]struct{}
	conns sync.WaitGroup // Of the open connections.
}

// newListener serves at most limit connections at once.
func newListener(ln net.Listener, limit int) *listener {
	return &listener{
		Listener: ln, accepting: make(chan struct{}), closed: make(chan struct{}),
		open: make(map[*conn]struct{}), slots: make(chan struct{}, limit),
		lingering: make(chan struct{}, maxLingering), evicted: func() {},
	}
}

// Accept waits for the next connection and a slot for it.
func (l *listener) Accept() (net.Conn, error) {
	l.acceptOnce.Do(func() { close(l.accepting) })
	socket, err := l.acceptSocket()
	if err != nil {
		return nil, err
	}
	if err := l.acquireSlot(); err != nil {
		_ = socket.Close()
		return nil, err
	}
	c := &conn{Conn: socket, socket: socket, listener: l}
	if l.proxies.Protocol && l.proxies.trust(addressOf(socket.RemoteAddr())) {
		c.proxied = newProxied(socket, l.proxyFailed)
		c.Conn = c.proxied
	}
	c.source = c.Conn
	c.startWaiting(time.Now())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = struct{}{}
	l.conns.Add(1)
	if l.tlsConfig == nil {
		return c, nil
	}
	// fasthttp calls Handshake in the connection's goroutine. A handshake here would block
	// the next Accept.
	s := &tlsConn{conn: c, tls: tls.Server(c.Conn, l.tlsConfig)}
	c.Conn, c.source = s.tls, s.tls
	return s, nil
}

// acceptSocket accepts a connection, again and again while file descriptors are short.
func (l *listener) acceptSocket() (net.Conn, error) {
	for {
		socket, err := l.Listener.Accept()
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
			return socket, err
		}
		pause := time.NewTimer(acceptRetry)
		select {
		case <-pause.C:
		case <-l.closed:
			pause.Stop()
			return nil, net.ErrClosed
		}
	}
}

// acquireSlot waits for a slot, and evicts connections while there is none.
func (l *listener) acquireSlot() error {
	select {
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	retry := time.NewTicker(evictionInterval)
	defer retry.Stop()
	for {
		l.evict(time.Now())
		select {
		case l.slots <- struct{}{}:
			return nil
		case <-retry.C:
		case <-l.closed:
			return net.ErrClosed
		}
	}
}

func (l *listener) releaseSlot() { <-l.slots }

// evict ends the read of one connection by a deadline that has passed. If the next
// request begins at that moment, fasthttp sets a new deadline and the request is served.
func (l *listener) evict(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest, since, seen := (*conn)(nil), now.Add(-evictAfter).UnixNano(), 0
	for c := range l.open {
		if at := c.waitingSince.Load(); at != 0 && at < since {
			longest, since = c, at
		}
		if seen++; seen == evictionSample {
			break
		}
	}
	if longest != nil && longest.waitingSince.CompareAndSwap(since, 0) {
		_ = longest.socket.SetReadDeadline(now)
		l.evicted()
	}
}

// Close stops accepting. Open connections stay open.
func (l *listener) Close() error {
	var err error
	l.closeOnce.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}

// remove forgets a connection that was closed.
func (l *listener) remove(c *conn) {
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
	l.conns.Done()
}

// closeAll closes the socket of every open connection. A TLS connection is not closed by
// its own Close, whose close_notify alert could block on the client.
func (l *listener) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.socket.Close()
	}
}
