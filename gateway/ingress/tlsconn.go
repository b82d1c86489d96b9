package ingress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// tlsConn is a connection under TLS. fasthttp 1.78.0 (server.go, getNextProto) calls its
// Handshake in the connection's goroutine, within the read timeout.
type tlsConn struct {
	*conn
	tls *tls.Conn
}

// Handshake makes the handshake within the deadlines that fasthttp has set. After a failed
// one the connection has no bytes, because fasthttp 1.78.0 (server.go, getNextProto) drops
// the error and reads a request. Before this may go, check that it returns the error.
func (s *tlsConn) Handshake() error {
	err := s.tls.HandshakeContext(context.Background())
	if err != nil {
		s.listener.handshakeFailed(s.conn, err)
		s.source = bytes.NewReader(nil)
	}
	return err
}

// ConnectionState returns what was negotiated.
func (s *tlsConn) ConnectionState() tls.ConnectionState { return s.tls.ConnectionState() }

// Why a handshake failed: the label of arauto_tls_handshake_failures_total.
const (
	failedPlain   = "plain_http" // The client speaks HTTP without TLS.
	failedTimeout = "timeout"    // The handshake took longer than the read timeout.
	failedRefused = "refused"    // The client sent an alert: usually it does not trust the certificate.
	failedClosed  = "closed"     // The client closed the connection: a port check, or distrust without an alert.
	failedOther   = "other"      // No version or cipher in common, or bytes that are no TLS.
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
	case errors.As(err, &operation) && (operation.Op == "remote error" || isOpenSSLAlert(operation)):
		return failedRefused
	}
	return failedOther
}

// isOpenSSLAlert reports an alert that was sent without encryption. Clients with OpenSSL
// (curl, Node.js) refuse a certificate so in TLS 1.3, and crypto/tls of Go 1.26 reports
// a record with a bad MAC of its own (conn.go, readRecordOrCCS). Before this may go, check
// that it reports the alert as a remote error.
func isOpenSSLAlert(operation *net.OpError) bool {
	return operation.Op == "local error" && strings.Contains(operation.Err.Error(), "bad record MAC")
}

// looksLikeHTTP reports whether the first five bytes begin a request with a method of
// HTTP.
func looksLikeHTTP(start [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "DELET", "CONNE", "OPTIO", "TRACE", "PATCH"}, string(start[:]))
}

// handshakeFailed counts and logs a failed handshake. A client that speaks plain HTTP gets
// a 400 in plain HTTP, because it cannot read a TLS alert. A client that closed is not
// logged: load balancers check ports so.
func (s *Server) handshakeFailed(c *conn, err error) {
	reason := handshakeFailure(err)
	s.certificate.handshakeFailures.WithLabelValues(reason).Inc()
	if reason == failedPlain {
		body := s.options.PlainHTTPBody
		_, _ = fmt.Fprintf(c.socket, "HTTP/1.1 400 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			http.StatusText(http.StatusBadRequest), len(body), body) // The connection is closed next, with or without an error.
		c.linger.Store(true)
	}
	if reason != failedClosed {
		s.options.Log.Info("handshake.failed", zap.String("reason", reason))
	}
}
