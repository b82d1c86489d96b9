package webhook

import "net"

// ServeConn serves one connection without a listener, for fuzzing.
func (g *Gateway) ServeConn(c net.Conn) error { return g.server.ServeConn(c) }
