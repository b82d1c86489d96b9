package webhook_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"arauto/gateway/webhook"
)

// startTLS is a gateway under TLS, and what its clients trust.
func startTLS(t *testing.T, change func(*webhook.Options)) (*gateway, webhook.TLS, *x509.CertPool) {
	t.Helper()
	files := webhook.NewTLS(t)
	pool := files.Renew(t, time.Now().Add(time.Hour))
	g := start(t, func(o *webhook.Options) {
		o.TLS = files
		if change != nil {
			change(o)
		}
	})
	return g, files, pool
}

// greet makes a TLS connection that gives up after ten seconds.
func (g *gateway) greet(c *tls.Config) (*tls.Conn, error) {
	g.t.Helper()
	raw, _ := g.dial()
	if c.ServerName == "" {
		c.ServerName = "127.0.0.1"
	}
	secure := tls.Client(raw, c)
	return secure, secure.HandshakeContext(g.t.Context())
}

func (g *gateway) greeted(pool *x509.CertPool) (*tls.Conn, *bufio.Reader) {
	g.t.Helper()
	c, err := g.greet(&tls.Config{RootCAs: pool})
	if err != nil {
		g.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func TestRenewedCertificateIsTakenWithoutARestart(t *testing.T) {
	t.Parallel()
	g, files, old := startTLS(t, nil)
	conn, r := g.greeted(old)
	fmt.Fprint(conn, request("before", ""))
	if got := next(t, r).code(t); got != 200 {
		t.Fatalf("code %d", got)
	}
	expires := time.Now().Add(48 * time.Hour)
	renewed := files.Renew(t, expires)
	until(t, func() bool {
		c, err := g.greet(&tls.Config{RootCAs: renewed})
		_ = c.Close()
		return err == nil
	})
	if _, err := g.greet(&tls.Config{RootCAs: old}); err == nil {
		t.Error("the old certificate is still shown")
	}
	fresh, rf := g.greeted(renewed)
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

// gauge is a metric without labels.
func (g *gateway) gauge(name string) float64 {
	g.t.Helper()
	families, err := g.registry.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue() + family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	g.t.Fatalf("there is no metric %s", name)
	return 0
}

func TestBrokenRenewalKeepsTheOldCertificate(t *testing.T) {
	t.Parallel()
	g, files, pool := startTLS(t, nil)
	if err := os.WriteFile(files.Certificate, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return g.gauge("arauto_tls_reload_failures_total") > 1 })
	conn, r := g.greeted(pool)
	fmt.Fprint(conn, request("p", ""))
	if got := next(t, r).code(t); got != 200 {
		t.Errorf("code %d", got)
	}
	if n := g.logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 {
		t.Errorf("%d errors are logged, want 1", n)
	}
}

func TestOnlyModernTLSAndHTTP1(t *testing.T) {
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
		"another name":  {&tls.Config{ServerName: "gateway.example"}, false}, // The client's own refusal.
	} {
		c.offer.RootCAs = pool
		conn, err := g.greet(c.offer)
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
	until(t, func() bool {
		return g.metric("arauto_tls_handshake_failures_total", "other") == 2 && g.metric("arauto_tls_handshake_failures_total", "refused") == 1
	})
}

func TestCertificateThatIsNotTrustedIsCounted(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if _, err := g.greet(&tls.Config{RootCAs: x509.NewCertPool(), MinVersion: version, MaxVersion: version}); err == nil {
			t.Error("the client trusts what it should not")
		}
	}
	raw, _ := g.dial()
	openSSL := tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", VerifyConnection: func(tls.ConnectionState) error {
		_, _ = raw.Write([]byte{21, 3, 3, 0, 2, 2, 48}) // Unknown authority, not encrypted.
		return errors.New("not trusted")
	}})
	if err := openSSL.HandshakeContext(t.Context()); err == nil {
		t.Error("the client trusts what it should not")
	}
	until(t, func() bool { return g.metric("arauto_tls_handshake_failures_total", "refused") == 3 })
}

func TestConnectionCloseUnderTLS(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, nil)
	for range 3 {
		conn, r := g.greeted(pool)
		fmt.Fprint(conn, request("p", "Connection: close\r\n"))
		if answer := next(t, r); answer.code(t) != 200 || !answer.last {
			t.Errorf("%d, last %t", answer.status, answer.last)
		}
		if _, err := r.ReadByte(); err != io.EOF { // An end without TLS's farewell would be io.ErrUnexpectedEOF.
			t.Errorf("the connection ends with %v, want EOF", err)
		}
	}
	if n := len(g.stored()); n != 3 {
		t.Errorf("%d notifications are stored, want 3", n)
	}
}

func TestRefusedClientReadsItsAnswerUnderTLS(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, nil)
	conn, r := g.greeted(pool)
	body := bytes.Repeat([]byte("x"), 10<<20)
	first := fmt.Sprintf("POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body))
	if _, err := conn.Write(append([]byte(first), body...)); err != nil {
		t.Fatal(err)
	}
	if answer := next(t, r); answer.code(t) != 413100 || !answer.last {
		t.Errorf("%d, last %t", answer.status, answer.last)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the connection ends with %v, want EOF", err)
	}
}

func TestPlainHTTPUnderTLSIsToldSo(t *testing.T) {
	t.Parallel()
	g, _, _ := startTLS(t, nil)
	big := "POST /v1/sandbox/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + strings.Repeat("x", 10000000)
	for i, text := range []string{request("p", ""), "GET / HTTP/1.0\r\n\r\n", "DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", big} {
		conn, r := g.dial()
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Errorf("%.20q: write: %v", text, err)
			continue
		}
		if answer := next(t, r); answer.code(t) != 400100 || !answer.last || !strings.Contains(answer.body, "HTTPS") {
			t.Errorf("%.20q: %d %q, last %t", text, answer.status, answer.body, answer.last)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("%.20q: the connection ends with %v, want EOF", text, err)
		}
		if got := g.metric("arauto_tls_handshake_failures_total", "plain_http"); got != float64(i+1) {
			t.Errorf("%.20q: %v handshakes failed, want %d", text, got, i+1)
		}
	}
	if len(g.stored()) != 0 || g.logs.FilterMessage("webhook").Len() != 0 {
		t.Error("something is stored, or logged as a webhook")
	}
}

func TestSilentClientHoldsNothingUp(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, func(o *webhook.Options) { o.ReadTimeout = time.Minute })
	for _, start := range []string{"", "\x16", "\x16\x03\x01\x00\xff\x01"} {
		silent, _ := g.dial()
		fmt.Fprint(silent, start)
	}
	conn, r := g.greeted(pool)
	fmt.Fprint(conn, request("p", ""))
	if got := next(t, r).code(t); got != 200 {
		t.Errorf("code %d", got)
	}
}

func TestSilentClientGivesItsSlotBack(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, func(o *webhook.Options) { o.MaxConnections, o.ReadTimeout = 2, 200*time.Millisecond })
	silent, rs := g.dial()
	_, rm := g.dial()
	_, _ = silent.Write([]byte("\x16\x03"))
	// This one waits to be accepted until the others are cut off.
	conn, r := g.greeted(pool)
	fmt.Fprint(conn, request("p", ""))
	if got := next(t, r).code(t); got != 200 {
		t.Errorf("code %d", got)
	}
	for _, cut := range []io.Reader{rs, rm} {
		if _, err := io.ReadAll(cut); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a silent connection is still there: %v", err)
		}
	}
	if got := g.metric("arauto_tls_handshake_failures_total", "timeout"); got != 2 {
		t.Errorf("%v handshakes ran out of time, want 2", got)
	}
}

func TestStopInTheMiddleOfAHandshake(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, func(o *webhook.Options) { o.ReadTimeout, o.StopTimeout = time.Minute, 50*time.Millisecond })
	silent, r := g.dial()
	_, _ = silent.Write([]byte("\x16\x03"))
	_, ri := g.greeted(pool) // Accepted after the other, which so has begun too.
	g.stop()
	if err := <-g.ended; err == nil {
		t.Error("ended without an error")
	}
	for _, cut := range []io.Reader{r, ri} {
		if _, err := io.ReadAll(cut); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the connection is still there: %v", err)
		}
	}
}

func TestPortCheckIsCountedAndNotLogged(t *testing.T) {
	t.Parallel()
	g, _, _ := startTLS(t, nil)
	before := g.logs.Len()
	conn, _ := g.dial()
	_ = conn.Close()
	until(t, func() bool { return g.metric("arauto_tls_handshake_failures_total", "closed") == 1 })
	if g.logs.Len() != before {
		t.Errorf("logged: %v", g.logs.All()[before:])
	}
}

func TestUnusableCertificateIsRefused(t *testing.T) {
	t.Parallel()
	files := webhook.NewTLS(t)
	for about, change := range map[string]func(*webhook.TLS){
		"no files":    func(*webhook.TLS) {},
		"half a pair": func(f *webhook.TLS) { f.Key = "" },
	} {
		o := options(t, nil)
		o.Publisher, o.TLS = newGate(), files
		change(&o.TLS)
		if _, err := webhook.New(o); err == nil {
			t.Errorf("%s: accepted", about)
		}
	}
}
