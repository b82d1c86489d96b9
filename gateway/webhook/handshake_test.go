package webhook_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/gateway/webhook"
)

func TestUntrustedCertificateIsCounted(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if _, err := g.handshake(&tls.Config{RootCAs: x509.NewCertPool(), MinVersion: version, MaxVersion: version}); err == nil {
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
	testbench.Until(t, "three handshakes are refused", func() bool { return g.metric("arauto_tls_handshake_failures_total", "refused") == 3 })
}

func TestPlainHTTPUnderTLSGets400(t *testing.T) {
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
	if len(g.stored()) != 0 || g.logs.FilterMessage("webhook.answered").Len() != 0 {
		t.Error("something is stored, or logged as a webhook")
	}
}

func TestSilentHandshakeDelaysNoOther(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, func(o *webhook.Options) { o.ReadTimeout = time.Minute })
	for _, start := range []string{"", "\x16", "\x16\x03\x01\x00\xff\x01"} {
		silent, _ := g.dial()
		fmt.Fprint(silent, start)
	}
	conn, r := g.connectTLS(pool)
	fmt.Fprint(conn, request("p", ""))
	if got := next(t, r).code(t); got != 200 {
		t.Errorf("code %d", got)
	}
}

func TestSilentHandshakeFreesItsSlot(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, func(o *webhook.Options) { o.MaxConnections, o.ReadTimeout = 2, 200*time.Millisecond })
	silent, rs := g.dial()
	_, rm := g.dial()
	_, _ = silent.Write([]byte("\x16\x03"))
	// This connection waits for a slot until the others time out.
	conn, r := g.connectTLS(pool)
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

func TestStopDuringAHandshake(t *testing.T) {
	t.Parallel()
	g, _, pool := startTLS(t, func(o *webhook.Options) { o.ReadTimeout, o.StopTimeout = time.Minute, 50*time.Millisecond })
	silent, r := g.dial()
	_, _ = silent.Write([]byte("\x16\x03"))
	_, ri := g.connectTLS(pool) // Accepted after the silent connection, whose handshake has begun.
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
	testbench.Until(t, "a handshake is counted as closed", func() bool { return g.metric("arauto_tls_handshake_failures_total", "closed") == 1 })
	if g.logs.Len() != before {
		t.Errorf("logged: %v", g.logs.All()[before:])
	}
}
