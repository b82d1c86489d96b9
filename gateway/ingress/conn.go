package ingress

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// A lingering close reads what a refused client still sends, for lingerTimeout and
// lingerBytes at most. Without it the kernel sends a reset for unread bytes, and a client
// that is still sending loses the answer. Both are guesses.
const (
	lingerTimeout = time.Second
	lingerBytes   = 16 << 20
)

// maxLingering is how many connections linger at once, beside the served connections. Each
// takes about 20 KiB (measured); further ones are closed at once.
const maxLingering = 512

// conn is one client's connection.
type conn struct {
	net.Conn
	requestReader
	socket        net.Conn // The TCP connection: net.Conn itself for plain HTTP.
	proxied       *proxied // Nil but for a connection of a proxy that speaks the PROXY protocol.
	listener      *listener
	linger        atomic.Bool  // Whether Close lingers.
	authenticated atomic.Bool  // Whether the connection has carried an authenticated request.
	waitingSince  atomic.Int64 // When the connection began to wait for bytes of the client, as Unix time in nanoseconds; 0 while a request is handled.
	closeOnce     sync.Once
}

// Read reads bytes of a header.
func (c *conn) Read(p []byte) (int, error) { return c.requestReader.Read(p) }

func (c *conn) startWaiting(now time.Time) { c.waitingSince.Store(now.UnixNano()) }

// connOf returns the conn behind a connection that fasthttp serves, nil in ServeConn.
func connOf(served net.Conn) *conn {
	switch c := served.(type) {
	case *conn:
		return c
	case *tlsConn:
		return c.conn
	}
	return nil
}

// MarkAuthenticated records that the request's client is authenticated. Its connection
// can still be evicted until the body was received: else slow bodies with one known
// credential could take every slot.
func MarkAuthenticated(rc *fasthttp.RequestCtx) {
	if c := connOf(rc.Conn()); c != nil {
		c.authenticated.Store(true)
	}
}

// Authenticated reports whether the request's connection has carried an authenticated
// request.
func Authenticated(rc *fasthttp.RequestCtx) bool {
	c := connOf(rc.Conn())
	return c == nil || c.authenticated.Load()
}

// MarkReceived records that a whole request was received, so that its connection is not
// evicted while the request is handled.
func MarkReceived(rc *fasthttp.RequestCtx) {
	if c := connOf(rc.Conn()); c != nil {
		c.waitingSince.Store(0)
	}
}

// connStateChanged is fasthttp's hook. A connection is idle before each request and after
// its answer was written.
func connStateChanged(served net.Conn, state fasthttp.ConnState) {
	if c := connOf(served); c != nil && state == fasthttp.StateIdle {
		c.startWaiting(time.Now())
	}
}

// CloseLingering ends the connection after the answer by a lingering close. It is for a
// request that is not read to its end.
func CloseLingering(rc *fasthttp.RequestCtx) {
	rc.SetConnectionClose()
	if c := connOf(rc.Conn()); c != nil {
		c.linger.Store(true)
	}
}

// Close closes the connection. Its slot is free before it lingers. Closing it again does
// nothing.
func (c *conn) Close() error {
	var err error
	c.closeOnce.Do(func() {
		c.waitingSince.Store(0)
		c.listener.releaseSlot()
		if c.linger.Load() {
			select {
			case c.listener.lingering <- struct{}{}:
				c.drain()
				<-c.listener.lingering
			default:
			}
		}
		err = c.Conn.Close()
		c.listener.remove(c)
	})
	return err
}

// drain ends the sending side, so that the client sees the end of the answer, and discards
// what the client sends until it ends its side. Under TLS the bytes are not decrypted.
func (c *conn) drain() {
	if secure, ok := c.Conn.(*tls.Conn); ok {
		_ = secure.CloseWrite() // CloseWrite fails after a failed handshake, which leaves no TLS to end.
	}
	half, ok := c.socket.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.socket.SetReadDeadline(time.Now().Add(lingerTimeout)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.socket, lingerBytes) // The connection is closed next, with or without an error.
}
