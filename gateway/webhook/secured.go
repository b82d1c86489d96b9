package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// secured is a connection under TLS. fasthttp knows by its methods that there
// is a handshake to make, and makes it where it serves the connection, within
// the read timeout.
type secured struct {
	*conn
	tls *tls.Conn
}

// Handshake is the first thing that happens to the connection. The deadlines
// that fasthttp has set bound it.
func (s *secured) Handshake() error {
	err := s.tls.HandshakeContext(context.Background())
	if err != nil {
		s.listener.failed(s.conn, err)
	}
	return err
}

// ConnectionState tells fasthttp what was negotiated.
func (s *secured) ConnectionState() tls.ConnectionState { return s.tls.ConnectionState() }

// SetReadDeadline reports nothing, for the reason of SetWriteDeadline: before
// the handshake fasthttp panics when it fails.
func (s *secured) SetReadDeadline(t time.Time) error {
	_ = s.conn.SetReadDeadline(t)
	return nil
}

// Why a handshake failed.
const (
	failedPlain   = "plain_http" // The client speaks HTTP without TLS.
	failedTimeout = "timeout"    // The client was not done in time.
	failedRefused = "refused"    // The client broke off with an alert: usually it does not trust the certificate.
	failedClosed  = "closed"     // The client hung up: a port check, or distrust without a word.
	failedOther   = "other"      // No version or cipher in common, or no TLS at all.
)

func handshakeFailures() []string {
	return []string{failedPlain, failedTimeout, failedRefused, failedClosed, failedOther}
}

func handshakeFailure(err error) string {
	var header tls.RecordHeaderError
	var operation *net.OpError
	switch {
	case errors.As(err, &header) && header.Conn != nil && looksLikeHTTP(header.RecordHeader):
		return failedPlain
	case errors.Is(err, io.EOF):
		return failedClosed
	case errors.As(err, &operation) && operation.Timeout():
		return failedTimeout
	case errors.As(err, &operation) && (operation.Op == "remote error" || openSSLAlert(operation)):
		return failedRefused
	}
	return failedOther
}

// openSSLAlert knows an alert that was sent without its encryption, which is
// how clients with OpenSSL (curl, Node.js) refuse a certificate in TLS 1.3.
func openSSLAlert(operation *net.OpError) bool {
	return operation.Op == "local error" && strings.Contains(operation.Err.Error(), "bad record MAC")
}

// looksLikeHTTP knows the first five bytes of a request of any method that
// has a name in HTTP.
func looksLikeHTTP(start [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "DELET", "CONNE", "OPTIO", "TRACE", "PATCH"}, string(start[:]))
}

// refuseHandshake counts and logs a connection that never came to a request.
// Who speaks plain HTTP is told so, because else it would see line noise.
func (g *Gateway) refuseHandshake(c *conn, err error) {
	why := handshakeFailure(err)
	g.certificate.handshakes.WithLabelValues(why).Inc()
	if why == failedPlain {
		body := malformed.envelope("This address speaks HTTPS.")
		_, _ = fmt.Fprintf(c.raw, "HTTP/1.1 400 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			http.StatusText(http.StatusBadRequest), len(body), body) // Whether it arrives or not, the connection is closed.
		c.lingerAtClose()
	}
	if why != failedClosed {
		g.options.Log.Info("handshake failed", zap.String("reason", why))
	}
}
