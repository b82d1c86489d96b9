package testbench

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Flow copies one direction of a connection until it ends. It may change, delay or keep
// what passes.
type Flow func(to io.Writer, from io.Reader)

// Proxy is a TCP proxy between clients and a server, whose connections a test changes,
// cuts and refuses. It ends with the test.
type Proxy struct {
	Addr string // Where clients connect, host:port.

	to       string
	up, down Flow
	running  sync.WaitGroup

	mu      sync.Mutex
	refuses bool
	open    []*net.TCPConn
}

// NewProxy is a proxy to the server at host:port. up copies what clients send, and down
// what the server answers; nil copies it as it is. Both may run before NewProxy returns.
func NewProxy(t testing.TB, to string, up, down Flow) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	Must(t, err)
	p := &Proxy{Addr: ln.Addr().String(), to: to, up: up, down: down}
	p.running.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.pass(t.Context(), client) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.Refuse(true)
		p.Cut()
		p.running.Wait()
	})
	return p
}

func (p *Proxy) pass(ctx context.Context, client net.Conn) {
	defer client.Close() //nolint:errcheck // Closing twice is how a cut ends it.
	server, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // As above.
	near, isTCP := client.(*net.TCPConn)
	far, both := server.(*net.TCPConn)
	if !isTCP || !both || !p.keep(near, far) {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() { carry(p.down, near, far) })
	carry(p.up, far, near)
	answers.Wait()
}

// carry copies one direction, and ends both when it ends.
func carry(flow Flow, to, from *net.TCPConn) {
	if flow == nil {
		_, _ = io.Copy(to, from) // It ends with the connection.
	} else {
		flow(to, from)
	}
	_, _ = to.Close(), from.Close() // They may be closed already.
}

func (p *Proxy) keep(conns ...*net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses {
		return false
	}
	p.open = append(p.open, conns...)
	return true
}

// Pieces is a flow that sends what through returns for each piece that comes.
func Pieces(through func([]byte) []byte) Flow {
	return func(to io.Writer, from io.Reader) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if n > 0 {
				_, failed := to.Write(through(buffer[:n]))
				err = errors.Join(err, failed)
			}
			if err != nil {
				return
			}
		}
	}
}

// Refuse says whether new connections are closed at once.
func (p *Proxy) Refuse(refuses bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = refuses
}

// Cut closes every open connection.
func (p *Proxy) Cut() { p.end(func(*net.TCPConn) {}) }

// Reset ends every open connection with a TCP reset, so that bytes under way are lost
// on both sides.
func (p *Proxy) Reset() {
	p.end(func(c *net.TCPConn) { _ = c.SetLinger(0) }) // Closing then sends RST.
}

func (p *Proxy) end(prepare func(*net.TCPConn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		prepare(c)
		_ = c.Close() // Its carrier may have closed it.
	}
	p.open = nil
}
