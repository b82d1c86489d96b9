package webhook

import "net"

// ServeConn serves one connection without a listener, for fuzzing.
func (g *Gateway) ServeConn(c net.Conn) error { return g.app.Server().ServeConn(c) }

// Started prepares the Fiber application as Run does.
func (g *Gateway) Started() *Gateway {
	g.app.Handler()
	return g
}
