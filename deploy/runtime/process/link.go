package process

import (
	"net"
	"sync/atomic"
	"time"
)

// dialTimeout is how long one address of the broker may take to accept a connection. A name
// may have several addresses, one of them of a host that is down.
const dialTimeout = time.Second

// Link says at once how the connection to the broker stands. The client's own
// answers may take seconds: it holds its lock while it dials, waits for a
// greeting (nats.go 1.55.0, nats.go, doReconnect), or writes to a broker that does
// not read (flusher). Before this may go, check that IsConnected and Stats take no
// lock that is held meanwhile.
type Link struct {
	dialer      net.Dialer
	up          atomic.Bool
	connections atomic.Uint64
}

func newLink() *Link { return &Link{dialer: net.Dialer{Timeout: dialTimeout}} }

// Dial opens a connection for the client, and counts it.
func (l *Link) Dial(network, address string) (net.Conn, error) {
	conn, err := l.dialer.Dial(network, address)
	if err != nil {
		return nil, err //nolint:wrapcheck // The client compares it.
	}
	l.connections.Add(1)
	return onItsOwn(conn), nil
}

// Up reports whether the connection stood when the client last said so, which it
// does within milliseconds.
func (l *Link) Up() bool { return l.up.Load() }

// Connections is how many connections were opened, before anything is sent on
// the last of them. Like the client's own count of reconnects it includes those
// on which the broker did not greet.
func (l *Link) Connections() uint64 { return l.connections.Load() }
