package webhook_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/ingress"
	"arauto/gateway/webhook"
)

// startTLS starts a gateway with TLS. Clients trust the pool.
func startTLS(t *testing.T, change func(*webhook.Options)) (*gateway, testbench.Certificate, *x509.CertPool) {
	t.Helper()
	files := testbench.NewCertificate(t)
	pool := files.Renew(t, time.Unix(0, 0), time.Now().Add(time.Hour))
	g := start(t, func(o *webhook.Options) {
		o.TLS = ingress.TLS{Certificate: files.File, Key: files.Key, ReloadInterval: 5 * time.Millisecond}
		if change != nil {
			change(o)
		}
	})
	return g, files, pool
}

// handshake makes a TLS connection with a deadline in two minutes.
func (g *gateway) handshake(c *tls.Config) (*tls.Conn, error) {
	g.t.Helper()
	raw, _ := g.dial()
	if c.ServerName == "" {
		c.ServerName = "127.0.0.1"
	}
	secure := tls.Client(raw, c)
	return secure, secure.HandshakeContext(g.t.Context())
}

func (g *gateway) connectTLS(pool *x509.CertPool) (*tls.Conn, *bufio.Reader) {
	g.t.Helper()
	c, err := g.handshake(&tls.Config{RootCAs: pool})
	testbench.Must(g.t, err)
	return c, bufio.NewReader(c)
}

func TestRenewedCertificateIsUsedWithoutARestart(t *testing.T) {
	t.Parallel()
	g, files, old := startTLS(t, nil)
	conn, r := g.connectTLS(old)
	fmt.Fprint(conn, request("before", ""))
	if got := next(t, r).code(t); got != 200 {
		t.Fatalf("code %d", got)
	}
	expires := time.Now().Add(48 * time.Hour)
	renewed := files.Renew(t, time.Unix(0, 0), expires)
	testbench.Until(t, "the renewed certificate is served", func() bool {
		c, err := g.handshake(&tls.Config{RootCAs: renewed})
		_ = c.Close()
		return err == nil
	})
	if _, err := g.handshake(&tls.Config{RootCAs: old}); err == nil {
		t.Error("the old certificate is still used")
	}
	fresh, rf := g.connectTLS(renewed)
	fmt.Fprint(fresh, request("after", ""))
	fmt.Fprint(conn, request("on the old connection", ""))
	if a, b := next(t, rf).code(t), next(t, r).code(t); a != 200 || b != 200 {
		t.Errorf("codes %d on the new connection, %d on the old one", a, b)
	}
	if got := g.gauge("arauto_tls_certificate_expiry_timestamp_seconds"); got != float64(expires.Unix()) {
		t.Errorf("the expiry is %f, want %d", got, expires.Unix())
	}
	if n := len(g.stored()); n != 3 {
		t.Errorf("%d notifications are stored, want 3", n)
	}
}

// gauge returns the value of a metric without labels.
func (g *gateway) gauge(name string) float64 {
	g.t.Helper()
	return testbench.Value(g.t, g.registry, name)
}

func TestBrokenRenewalKeepsTheOldCertificate(t *testing.T) {
	t.Parallel()
	g, files, pool := startTLS(t, nil)
	testbench.Must(t, os.WriteFile(files.File, []byte("nonsense"), 0o600))
	testbench.Until(t, "reloads fail", func() bool { return g.gauge("arauto_tls_reload_failures_total") > 1 })
	conn, r := g.connectTLS(pool)
	fmt.Fprint(conn, request("p", ""))
	if got := next(t, r).code(t); got != 200 {
		t.Errorf("code %d", got)
	}
	if n := g.logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 {
		t.Errorf("%d errors are logged, want 1", n)
	}
}

func TestTLS12AndHTTP11AreTheMinimum(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, nil)
	for about, c := range map[string]struct {
		offer *tls.Config
		fine  bool
	}{
		"TLS 1.1":       {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"TLS 1.2":       {&tls.Config{MaxVersion: tls.VersionTLS12}, true},
		"TLS 1.3":       {&tls.Config{MinVersion: tls.VersionTLS13}, true},
		"HTTP/2 only":   {&tls.Config{NextProtos: []string{"h2"}}, false},
		"HTTP/2 or 1.1": {&tls.Config{NextProtos: []string{"h2", "http/1.1"}}, true},
		"another name":  {&tls.Config{ServerName: "gateway.example"}, false}, // The client refuses it.
	} {
		c.offer.RootCAs = pool
		conn, err := g.handshake(c.offer)
		if (err == nil) != c.fine {
			t.Errorf("%s: %v", about, err)
			continue
		}
		if !c.fine {
			continue
		}
		if p := conn.ConnectionState().NegotiatedProtocol; p != "" && p != "http/1.1" {
			t.Errorf("%s: negotiated %q", about, p)
		}
		fmt.Fprint(conn, request("p", ""))
		if got := next(t, bufio.NewReader(conn)).code(t); got != 200 {
			t.Errorf("%s: code %d", about, got)
		}
	}
	testbench.Until(t, "the failures are counted", func() bool {
		return g.metric("arauto_tls_handshake_failures_total", "other") == 2 && g.metric("arauto_tls_handshake_failures_total", "refused") == 1
	})
}

// recorded is a connection that keeps the bytes that it has read.
type recorded struct {
	net.Conn
	all bytes.Buffer
}

func (r *recorded) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.all.Write(b[:n])
	return n, err
}

// endsWithAlert reports whether the last TLS record is an alert. Without close_notify a
// client cannot tell the end from a truncation by an attacker.
func (r *recorded) endsWithAlert() bool {
	var kind byte
	for rest := r.all.Bytes(); len(rest) >= 5; {
		kind = rest[0]
		rest = rest[min(5+int(rest[3])<<8+int(rest[4]), len(rest)):]
	}
	return kind == 21
}

// recordedTLS makes a TLS 1.2 connection, whose record types are not encrypted.
func (g *gateway) recordedTLS(pool *x509.CertPool) (*tls.Conn, *recorded) {
	g.t.Helper()
	raw, _ := g.dial()
	r := &recorded{Conn: raw}
	c := tls.Client(r, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MaxVersion: tls.VersionTLS12})
	testbench.Must(g.t, c.HandshakeContext(g.t.Context()))
	return c, r
}

func TestConnectionEndsWithCloseNotify(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, nil)
	huge := fmt.Sprintf("POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 10<<20, strings.Repeat("x", 10<<20))
	for i, c := range []struct {
		text string
		code int
	}{{request("p", "Connection: close\r\n"), 200}, {request("p", "Connection: close\r\n"), 200}, {huge, 413100}} {
		conn, records := g.recordedTLS(pool)
		if _, err := io.WriteString(conn, c.text); err != nil {
			t.Errorf("request %d: write: %v", i, err)
			continue
		}
		r := bufio.NewReader(conn)
		if answer := next(t, r); answer.code(t) != c.code || !answer.last {
			t.Errorf("request %d: %d, last %t", i, answer.status, answer.last)
		}
		if _, err := r.ReadByte(); err != io.EOF || !records.endsWithAlert() {
			t.Errorf("request %d: the connection ends with %v, alert %t", i, err, records.endsWithAlert())
		}
	}
	if n := len(g.stored()); n != 2 {
		t.Errorf("%d notifications are stored, want 2", n)
	}
}

func TestUnusableCertificateIsRefused(t *testing.T) {
	t.Parallel()
	files := testbench.NewCertificate(t)
	for about, pair := range map[string]ingress.TLS{
		"no files":    {Certificate: files.File, Key: files.Key},
		"half a pair": {Certificate: files.File},
		"only a key":  {Key: files.Key},
	} {
		o := options(t, nil)
		o.Publisher, o.TLS = newGate(), pair
		if _, err := webhook.New(o); err == nil {
			t.Errorf("%s: accepted", about)
		}
	}
}
