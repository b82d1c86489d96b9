package ingress

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/pires/go-proxyproto"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// Proxies are the proxies in front of the server that may say which client a connection or
// a request comes from. The zero value has none: the client is the TCP peer.
type Proxies struct {
	Networks []netip.Prefix // Of the proxies' own addresses.
	Protocol bool           // Each connection of a proxy begins with the PROXY protocol, version 1 or 2.
	Header   string         // Each request of a proxy has this header, a list like X-Forwarded-For; "" for none.
}

// validate returns what is wrong with the proxies.
func (p Proxies) validate() error {
	if (len(p.Networks) > 0) != (p.Protocol || p.Header != "") || p.Protocol && p.Header != "" {
		return errors.New("proxies need networks and one way to say a client's address")
	}
	return nil
}

// trust reports whether an address is that of a proxy.
func (p Proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// ClientAddress returns the address of the client that made a request: the TCP peer's, or
// what a proxy says. It is invalid if a proxy says no address, or nothing that can be read.
func (s *Server) ClientAddress(rc *fasthttp.RequestCtx) netip.Addr {
	p := s.options.Proxies
	if c := connOf(rc.Conn()); c != nil && c.proxied != nil {
		return c.proxied.client
	}
	peer := addressOf(rc.Conn().RemoteAddr())
	if p.Header == "" || !p.trust(peer) {
		return peer
	}
	return p.lastHop(rc.Request.Header.PeekAll(p.Header))
}

// addressOf returns the IP address of a TCP address, invalid for any other. An IPv4 address
// in an IPv6 one is IPv4.
func addressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// lastHop returns the last address of a header's list that is not a proxy's, because each
// proxy appends the address that it was called from, and a client may have written what
// comes before. It is the first address if all are proxies', and invalid if an entry before
// it cannot be read or there is none: a client can have some proxies remove the header.
func (p Proxies) lastHop(values [][]byte) netip.Addr {
	found := netip.Addr{}
	for _, value := range slices.Backward(values) {
		for rest, more := string(value), true; more; {
			var entry string
			at := strings.LastIndexByte(rest, ',')
			entry, rest, more = rest[at+1:], rest[:max(at, 0)], at >= 0
			if found = hop(strings.TrimSpace(entry)); !found.IsValid() || !p.trust(found) {
				return found
			}
		}
	}
	return found
}

// hop parses an entry: an address, or an address with a port.
func hop(entry string) netip.Addr {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]"))
	if err != nil {
		withPort, portErr := netip.ParseAddrPort(entry)
		if portErr != nil {
			return netip.Addr{}
		}
		a = withPort.Addr()
	}
	return a.Unmap().WithZone("")
}

// proxyHeaderRoom is the size of the buffer for a PROXY protocol header, in bytes. Version 1
// has 107 at most, and go-proxyproto 0.15 (v1.go) needs it in one read.
const proxyHeaderRoom = 256

// proxied is a connection of a proxy, which begins with the PROXY protocol. The header is
// read by the first Read, in the connection's goroutine and within its deadline.
type proxied struct {
	net.Conn

	header *bufio.Reader // Nil once the header and what came with it were read.
	begun  bool          // Whether the header was read.
	client netip.Addr    // Invalid until the header was read, and if it says none.
	remote net.Addr      // The client's address as the header has it, nil for none.
	failed func(net.Addr, error)
	err    error
}

func newProxied(socket net.Conn, failed func(net.Addr, error)) *proxied {
	return &proxied{Conn: socket, header: bufio.NewReaderSize(socket, proxyHeaderRoom), failed: failed}
}

// Read reads bytes after the header. It fails if there is none.
func (p *proxied) Read(b []byte) (int, error) {
	if !p.begun {
		p.begun = true
		p.err = p.begin()
	}
	switch {
	case p.err != nil:
		return 0, p.err
	case p.header == nil:
		return p.Conn.Read(b)
	}
	if p.header.Buffered() > 0 {
		return p.header.Read(b)
	}
	p.header = nil
	return p.Conn.Read(b)
}

// begin reads the header. A connection that is closed before it, or of which nothing comes
// in time, is no failure of the protocol: balancers check ports so.
func (p *proxied) begin() error {
	if _, err := p.header.Peek(1); err != nil {
		return err
	}
	h, err := proxyproto.Read(p.header)
	if err != nil {
		p.failed(p.Conn.RemoteAddr(), err)
		return fmt.Errorf("read PROXY protocol: %w", err)
	}
	if h.Command.IsLocal() { // The proxy's own request, such as a health check.
		p.client = addressOf(p.Conn.RemoteAddr())
		return nil
	}
	if p.client = addressOf(h.SourceAddr); p.client.IsValid() {
		p.remote = h.SourceAddr
	}
	return nil
}

// RemoteAddr returns the client's address, or the proxy's where it says none.
func (p *proxied) RemoteAddr() net.Addr {
	if p.remote != nil {
		return p.remote
	}
	return p.Conn.RemoteAddr()
}

// newProxyFailures makes the counter of connections without a PROXY protocol header.
func newProxyFailures() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "arauto_proxy_protocol_failures_total",
		Help: "Connections of gateway.proxies that were closed because they do not begin with a PROXY protocol header that can be read.",
	})
}

// proxyFailed counts and logs a connection without a PROXY protocol header.
func (s *Server) proxyFailed(proxy net.Addr, err error) {
	s.proxyFailures.Inc()
	s.options.Log.Info("proxy_protocol.failed", zap.Stringer("proxy", proxy), zap.Error(err))
}
