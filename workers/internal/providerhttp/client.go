// Package providerhttp is the only package that sends requests to providers. It sends
// the requests that adapters describe, with timeouts, size limits and cached log-ins,
// and without redirects. Its errors never contain a URL, because a provider's
// credential may be in one.
package providerhttp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"arauto/deploy/runtime/spans"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/workers/internal/verdict"
)

// Options are the client's limits.
type Options struct {
	Timeout     time.Duration // Of one look-up, log-ins included.
	AnswerLimit int64         // Bytes of a response body.
	Connections int           // Idle connections kept per provider host.
	Now         func() time.Time
}

// Client sends look-ups to providers. It is safe for concurrent use.
type Client struct {
	options Options
	http    *http.Client
	logins  *logins
}

// New returns a client. Close must be called when it is no longer used.
func New(o Options) *Client {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           4 * o.Connections,
		MaxIdleConnsPerHost:    o.Connections,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    o.Timeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return &Client{
		options: o,
		logins:  newLogins(o.Now),
		http: &http.Client{
			Transport: transport,
			// A redirect would send the credential to a host that is not configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ThrottledError is provider.ErrThrottled with the response's Retry-After.
type ThrottledError struct {
	After time.Duration // 0 without Retry-After.
	Err   error
}

func (e *ThrottledError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *ThrottledError) Unwrap() error { return e.Err }

// Ask sends the look-up that the adapter describes for t and returns what the answer
// means. Errors wrap verdict.ErrTransport, an error of schemas/provider, or the
// context's error if ctx itself has ended. With provider.UnknownWordError, the rest of
// the fact is returned too.
func (c *Client) Ask(ctx context.Context, p provider.Provider, a provider.Account, t provider.Target) (order.Fact, error) {
	question, err := p.Ask(t, a)
	if err != nil {
		return order.Fact{}, fmt.Errorf("describe question: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	reply, err := c.sendAuthenticated(limited, p, a, question)
	if ctx.Err() != nil {
		return order.Fact{}, fmt.Errorf("ask %s: %w", p.Name, ctx.Err())
	}
	if err != nil {
		return order.Fact{}, fmt.Errorf("ask %s: %w", p.Name, err)
	}
	fact, err := p.Answer(t, a, reply.Reply)
	if err != nil {
		return fact, fmt.Errorf("read answer of %s: %w", p.Name, &answerError{reply.Status, reply.markURLRefusal(reply.withRetryAfter(err))})
	}
	return fact, nil
}

// answerError is an error about an answer, with its HTTP status.
type answerError struct {
	status int
	err    error
}

func (e *answerError) Error() string { return e.err.Error() }

func (e *answerError) Unwrap() error { return e.err }

// StatusOf returns the HTTP status of the answer that an error of Ask is about, 0 if
// the look-up got none.
func StatusOf(err error) int {
	var about *answerError
	if errors.As(err, &about) {
		return about.status
	}
	return 0
}

// reply is a response with what this package reads from it.
type reply struct {
	provider.Reply
	retryAfter time.Duration
}

// withRetryAfter adds the response's Retry-After to an adapter's error if that is about
// throttling.
func (r reply) withRetryAfter(err error) error {
	if errors.Is(err, provider.ErrThrottled) {
		return &ThrottledError{After: r.retryAfter, Err: err}
	}
	return err
}

// markURLRefusal adds to an adapter's error about a refusal that the provider may
// refuse the URL, by the HTTP status. An adapter that knows another reason for a 400
// returns another error.
func (r reply) markURLRefusal(err error) error {
	switch {
	case !errors.Is(err, provider.ErrRefused):
		return err
	case r.Status == http.StatusRequestURITooLong:
		return fmt.Errorf("%w: %w", verdict.ErrURLTooLong, err)
	case r.Status == http.StatusBadRequest:
		return fmt.Errorf("%w: %w", verdict.ErrURL, err)
	}
	return err
}

// sendAuthenticated sends q with the account's bearer token if the provider has a
// log-in. After a 401 the token is dropped, and q is sent again with a new one, once. A
// 403 may be about the payment alone: see logins.renew.
func (c *Client) sendAuthenticated(ctx context.Context, p provider.Provider, a provider.Account, q provider.Question) (reply, error) {
	if p.Login == nil {
		return c.send(ctx, q, "")
	}
	for first := true; ; first = false {
		token, err := c.logins.token(ctx, p, a, "", c.send)
		if err != nil {
			return reply{}, fmt.Errorf("log in: %w", err)
		}
		r, err := c.send(ctx, q, token)
		switch {
		case err != nil || !first:
			return r, err
		case r.Status == http.StatusUnauthorized:
			c.logins.drop(p, a, token)
		case r.Status == http.StatusForbidden:
			if renewed, err := c.logins.renew(ctx, p, a, token, c.send); !renewed || err != nil {
				return r, err
			}
		default:
			return r, nil
		}
	}
}

// send sends one request.
func (c *Client) send(ctx context.Context, q provider.Question, bearer string) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, q.Method, q.URL, strings.NewReader(string(q.Body)))
	if err != nil {
		return reply{}, errInvalid
	}
	for name, value := range q.Header {
		request.Header.Set(name, value)
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	if !valid(request) {
		return reply{}, errInvalid
	}
	_, span := spans.Request(ctx, request.Method, request.URL)
	defer span.End(nil)
	response, err := c.http.Do(request)
	if err != nil {
		span.Fail(kindOf(err))
		return reply{}, transportError(err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		span.FailedWith(response.StatusCode)
	} else {
		span.Answered(response.StatusCode)
	}
	defer func() { _ = response.Body.Close() }() // Close cannot lose data: the body was only read.
	body, err := io.ReadAll(io.LimitReader(response.Body, c.options.AnswerLimit+1))
	if err != nil {
		span.Fail(kindOf(err))
		return reply{}, transportError(err)
	}
	if int64(len(body)) > c.options.AnswerLimit {
		return reply{}, fmt.Errorf("%w: it has more than %d bytes", provider.ErrUnreadable, c.options.AnswerLimit)
	}
	return reply{
		Reply:      provider.Reply{Status: response.StatusCode, Header: lowerNames(response.Header), Body: body},
		retryAfter: c.retryAfter(response.Header.Get("Retry-After")),
	}, nil
}

func lowerNames(h http.Header) provider.HeaderMap {
	lower := make(provider.HeaderMap, len(h))
	for name, values := range h {
		lower[strings.ToLower(name)] = values
	}
	return lower
}

// errInvalid means that the described request cannot be sent, mostly because of a
// configured value. It does not say which, because that may be a credential.
var errInvalid = errors.New("the look-up is not a valid request")

// valid reports whether a request can be sent. net/http of Go 1.26 (transport.go,
// roundTrip) refuses an invalid request with errors that look like those of a connection.
// Before this may go, check that these errors have a type.
func valid(r *http.Request) bool {
	if r.URL.Scheme != "http" && r.URL.Scheme != "https" || r.URL.Host == "" {
		return false
	}
	for _, values := range r.Header {
		for _, value := range values {
			if strings.ContainsFunc(value, unicode.IsControl) {
				return false
			}
		}
	}
	return true
}

// transportError returns the kind of a failure without its text: net/http quotes the
// whole URL.
func transportError(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("%w: %s", verdict.ErrTransport, kindOf(err))
}

// kindOf says in fixed words why there was no response.
func kindOf(err error) string {
	var (
		dns       *net.DNSError
		op        *net.OpError
		untrusted *tls.CertificateVerificationError
		noTLS     tls.RecordHeaderError
		alert     tls.AlertError
	)
	switch {
	case errors.As(err, &dns) && !dns.IsTimeout:
		return "host name not resolved"
	case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		return "timed out"
	case errors.As(err, &untrusted):
		return "certificate not trusted"
	case errors.As(err, &noTLS), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return "TLS handshake failed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "network unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed before the answer ended"
	case errors.As(err, &op):
		return op.Op + " failed"
	}
	return "connection failed"
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// retryAfter parses seconds or an HTTP date; 0 if it is neither.
func (c *Client) retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(c.options.Now()), 0)
	}
	return 0
}
