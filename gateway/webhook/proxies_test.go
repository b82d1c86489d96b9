package webhook_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/ingress"
	"arauto/gateway/webhook"
)

// behind is a gateway behind proxies, whose sandbox takes webhooks from 203.0.113.0/24 and
// 2001:db8::/32 only.
func behind(p ingress.Proxies) func(*webhook.Options) {
	return func(o *webhook.Options) {
		o.Proxies = p
		o.Access = accessTo(webhook.Access{Networks: networks("203.0.113.0/24", "2001:db8::/32")})
	}
}

// proxyHeader is a PROXY protocol header of version 2, or 1, for a client.
func proxyHeader(t *testing.T, version byte, client string) string {
	t.Helper()
	to := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
	from, err := net.ResolveTCPAddr("tcp", client)
	testbench.Must(t, err)
	text, err := proxyproto.HeaderProxyFromAddrs(version, from, to).Format()
	testbench.Must(t, err)
	return string(text)
}

// local is the header of a proxy's own request.
func local(t *testing.T) string {
	t.Helper()
	t.Helper()
	text, err := (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}).Format()
	testbench.Must(t, err)
	return string(text)
}

// exchange sends texts, one after the other, and returns the first answer.
func (g *gateway) exchange(texts ...string) reply {
	g.t.Helper()
	conn, r := g.dial()
	defer conn.Close()
	for _, text := range texts {
		_, err := io.WriteString(conn, text)
		testbench.Must(g.t, err)
	}
	return next(g.t, r)
}

func TestProxyProtocolSaysTheClientsAddress(t *testing.T) {
	t.Parallel()
	g := start(t, behind(ingress.Proxies{Networks: networks("127.0.0.1/32"), Protocol: true}))
	right, right6, wrong := "203.0.113.7:1", "[2001:db8::1]:1", "198.51.100.1:1"
	v2 := proxyHeader(t, 2, right)
	for about, c := range map[string]struct {
		texts []string
		code  int
	}{
		"version 1":                      {[]string{proxyHeader(t, 1, right), request("p", "")}, 200},
		"version 1 of IPv6":              {[]string{proxyHeader(t, 1, right6), request("p", "")}, 200},
		"version 2":                      {[]string{v2, request("p", "")}, 200},
		"version 2 of IPv6":              {[]string{proxyHeader(t, 2, right6), request("p", "")}, 200},
		"in one write":                   {[]string{v2 + request("p", "")}, 200},
		"in pieces":                      {[]string{v2[:9], v2[9:14], v2[14:], request("p", "")}, 200},
		"version 1, from elsewhere":      {[]string{proxyHeader(t, 1, wrong) + request("p", "")}, 401100},
		"version 2, from elsewhere":      {[]string{proxyHeader(t, 2, wrong) + request("p", "")}, 401100},
		"the proxy itself":               {[]string{local(t) + request("p", "")}, 401100},
		"unknown":                        {[]string{"PROXY UNKNOWN\r\n" + request("p", "")}, 401100},
		"a header of the client is none": {[]string{proxyHeader(t, 1, wrong) + request("p", "X-Forwarded-For: 203.0.113.7\r\n")}, 401100},
		"none":                           {[]string{request("p", "")}, 400100},
		"broken":                         {[]string{"PROXY TCP4 203.0.113.7 x 1 2\r\n" + request("p", "")}, 400100},
		"twice":                          {[]string{v2 + v2 + request("p", "")}, 400100},
	} {
		if got := g.exchange(c.texts...).code(t); got != c.code {
			t.Errorf("%s: code %d, want %d", about, got, c.code)
		}
	}
	if got := g.metric("arauto_webhooks_total", "network"); got != 5 {
		t.Errorf("%v webhooks are refused for their network, want 5", got)
	}
	if got := g.gauge("arauto_proxy_protocol_failures_total"); got != 2 {
		t.Errorf("%v failures are counted, want 2", got)
	}
	if n := len(g.stored()); n != 6 {
		t.Errorf("%d notifications are stored, want 6", n)
	}
	conn, _ := g.dial() // A port check is no failure.
	testbench.Must(t, conn.Close())
	conn, r := g.dial()
	fmt.Fprint(conn, v2+request("p", "")+request("q", ""))
	for range 2 {
		if got := next(t, r).code(t); got != 200 {
			t.Errorf("two requests on one connection: code %d", got)
		}
	}
	if got := g.gauge("arauto_proxy_protocol_failures_total"); got != 2 {
		t.Errorf("%v failures are counted after a port check, want 2", got)
	}
}

func TestProxyProtocolOfAStrangerIsNoHTTP(t *testing.T) {
	t.Parallel()
	g := start(t, behind(ingress.Proxies{Networks: networks("192.0.2.0/24"), Protocol: true}))
	for _, version := range []byte{1, 2} {
		if got := g.exchange(proxyHeader(t, version, "203.0.113.7:1") + request("p", "")).code(t); got != 400100 {
			t.Errorf("version %d: code %d", version, got)
		}
	}
	if got := g.exchange(request("p", "")).code(t); got != 401100 {
		t.Errorf("without it: code %d", got)
	}
	if n := len(g.stored()); n != 0 {
		t.Errorf("%d notifications are stored", n)
	}
}

func TestProxyProtocolComesBeforeTLS(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, behind(ingress.Proxies{Networks: networks("127.0.0.0/8"), Protocol: true}))
	for client, code := range map[string]int{"203.0.113.7:1": 200, "198.51.100.1:1": 401100} {
		raw, _ := g.dial()
		fmt.Fprint(raw, proxyHeader(t, 2, client))
		conn := tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
		testbench.Must(t, conn.HandshakeContext(t.Context()))
		fmt.Fprint(conn, request("p", "Connection: close\r\n"))
		r := bufio.NewReader(conn)
		if got := next(t, r).code(t); got != code {
			t.Errorf("%s: code %d, want %d", client, got, code)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%s: the connection ends with %v", client, err)
		}
	}
}

func TestHeaderOfATrustedProxySaysTheClientsAddress(t *testing.T) {
	t.Parallel()
	g := start(t, behind(ingress.Proxies{Networks: networks("127.0.0.0/8", "10.0.0.0/8"), Header: "X-Forwarded-For"}))
	for list, code := range map[string]int{
		"203.0.113.7":                        200,
		"203.0.113.7:4711":                   200,
		"2001:db8::1":                        200,
		"[2001:db8::1]:4711":                 200,
		"[2001:db8::1]":                      200,
		"::ffff:203.0.113.7":                 200,
		"203.0.113.7, 10.1.2.3, 10.1.2.4":    200,
		"garbage, 203.0.113.7,10.1.2.3":      200,
		"203.0.113.7|10.1.2.3":               200, // Two lines.
		"203.0.113.7, 198.51.100.1":          401100,
		"203.0.113.7|198.51.100.1":           401100,
		"203.0.113.7, 198.51.100.1,10.1.2.3": 401100,
		"203.0.113.7, garbage":               401100,
		"203.0.113.7,":                       401100,
		"":                                   401100,
		"unknown":                            401100,
		"10.1.2.3":                           401100,
	} {
		var lines strings.Builder
		for line := range strings.SplitSeq(list, "|") {
			fmt.Fprintf(&lines, "X-Forwarded-For: %s\r\n", line)
		}
		if got := g.exchange(request("p", lines.String())).code(t); got != code {
			t.Errorf("%q: code %d, want %d", list, got, code)
		}
	}
	if got := g.exchange(request("p", "X-Real-IP: 203.0.113.7\r\n")).code(t); got != 401100 {
		t.Errorf("without the header: code %d", got)
	}
}

func TestHeaderOfAStrangerIsIgnored(t *testing.T) {
	t.Parallel()
	spoofed := request("p", "X-Forwarded-For: 203.0.113.7\r\n")
	for about, p := range map[string]ingress.Proxies{
		"no proxies":    {},
		"other proxies": {Networks: networks("192.0.2.0/24"), Header: "X-Forwarded-For"},
		"other header":  {Networks: networks("127.0.0.0/8"), Header: "X-Real-IP"},
	} {
		g := start(t, behind(p))
		if got := g.exchange(spoofed).code(t); got != 401100 {
			t.Errorf("%s: code %d", about, got)
		}
	}
	g := start(t, func(o *webhook.Options) { // The peer's own address is what counts.
		o.Proxies = ingress.Proxies{Networks: networks("192.0.2.0/24"), Header: "X-Forwarded-For"}
		o.Access = accessTo(webhook.Access{Networks: networks("127.0.0.1/32")})
	})
	if got := g.exchange(request("p", "X-Forwarded-For: 198.51.100.1\r\n")).code(t); got != 200 {
		t.Errorf("from its own address: code %d", got)
	}
}

func TestUnusableProxiesAreRefused(t *testing.T) {
	t.Parallel()
	for about, p := range map[string]ingress.Proxies{
		"no networks": {Header: "X-Forwarded-For"}, "no way": {Networks: networks("10.0.0.0/8")},
		"two ways": {Networks: networks("10.0.0.0/8"), Header: "X-Forwarded-For", Protocol: true},
	} {
		o := options(t, nil)
		o.Publisher, o.Proxies = newGate(), p
		if _, err := webhook.New(o); err == nil {
			t.Errorf("%s: accepted", about)
		}
	}
}
