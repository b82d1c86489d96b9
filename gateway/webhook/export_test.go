package webhook

import "net"

// ServeConn serves one connection without a listener, for fuzzing.
func (g *Gateway) ServeConn(c net.Conn) error { return g.server.ServeConn(c) }

// BodyMemoryUsed is how many bytes of BodyMemory are taken.
func (g *Gateway) BodyMemoryUsed() int64 { return g.server.BodyMemoryUsed() }
