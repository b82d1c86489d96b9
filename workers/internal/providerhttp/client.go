// Package providerhttp is the only place that talks to providers. It performs the
// questions that adapters describe, with deadlines, size limits, no redirects,
// cached logins, and errors that never carry a URL, since a provider's
// credential may travel in one.
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

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/workers/internal/verdict"
)

// Options are the client's limits.
type Options struct {
	Timeout     time.Duration // For one look-up, logins included.
	AnswerLimit int64         // Bytes of an answer's body.
	Connections int           // Kept per provider host.
	Now         func() time.Time
}

// Client asks providers. It is safe for concurrent use.
type Client struct {
	options Options
	http    *http.Client
	logins  *logins
}

// New returns a client.
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
			// A redirect would take the credential to a host that nobody configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ThrottledError is provider.ErrThrottled with what the provider asked for.
type ThrottledError struct {
	After time.Duration // 0 when it did not say.
	Err   error
}

func (e *ThrottledError) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *ThrottledError) Unwrap() error { return e.Err }

// Ask puts the provider's question about t and returns what the answer means.
// Errors wrap verdict.ErrTransport, a sentinel of schemas/provider, or the
// context's error when ctx itself ended. With provider.UnknownWordError the
// rest of the fact is returned too.
func (c *Client) Ask(ctx context.Context, p provider.Provider, a provider.Account, t provider.Target) (order.Fact, error) {
	question, err := p.Ask(t, a)
	if err != nil {
		return order.Fact{}, fmt.Errorf("describe question: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	reply, err := c.putLoggedIn(limited, p, a, question)
	if ctx.Err() != nil {
		return order.Fact{}, fmt.Errorf("ask %s: %w", p.Name, ctx.Err())
	}
	if err != nil {
		return order.Fact{}, fmt.Errorf("ask %s: %w", p.Name, err)
	}
	fact, err := p.Answer(t, a, reply.Reply)
	if err != nil {
		return fact, fmt.Errorf("read answer of %s: %w", p.Name, &answerError{reply.Status, reply.refused(reply.throttled(err))})
	}
	return fact, nil
}

// answerError is an error about an answer. It knows the answer's HTTP status, which
// its text has where the status is what is wrong.
type answerError struct {
	status int
	err    error
}

func (e *answerError) Error() string { return e.err.Error() }

func (e *answerError) Unwrap() error { return e.err }

// StatusOf is the HTTP status of the answer that an error of Ask is about, 0 where
// the payment's question got none.
func StatusOf(err error) int {
	var about *answerError
	if errors.As(err, &about) {
		return about.status
	}
	return 0
}

// reply is an answer with what the runtime reads off it by itself.
type reply struct {
	provider.Reply
	retryAfter time.Duration
}

// throttled adds to an adapter's error about the reply how long the provider
// asked us to wait, where it is about that.
func (r reply) throttled(err error) error {
	if errors.Is(err, provider.ErrThrottled) {
		return &ThrottledError{After: r.retryAfter, Err: err}
	}
	return err
}

// refused adds to an adapter's error about the reply that the URL may be what the
// provider refuses. An adapter that reads anything else off a 400 says so by
// another error.
func (r reply) refused(err error) error {
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

// putLoggedIn puts a question, with the account's bearer token where the
// provider wants one. A token may end early, so one refused answer drops it
// and asks once more with a new one. A 403 may be about the payment alone, so it
// drops no token: see logins.renew.
func (c *Client) putLoggedIn(ctx context.Context, p provider.Provider, a provider.Account, q provider.Question) (reply, error) {
	if p.Login == nil {
		return c.put(ctx, q, "")
	}
	for first := true; ; first = false {
		token, err := c.logins.token(ctx, p, a, c.put)
		if err != nil {
			return reply{}, fmt.Errorf("log in: %w", err)
		}
		r, err := c.put(ctx, q, token)
		switch {
		case err != nil || !first:
			return r, err
		case r.Status == http.StatusUnauthorized:
			c.logins.drop(p, a, token)
		case r.Status == http.StatusForbidden:
			if renewed, err := c.logins.renew(ctx, p, a, token, c.put); !renewed || err != nil {
				return r, err
			}
		default:
			return r, nil
		}
	}
}

// put performs one request.
func (c *Client) put(ctx context.Context, q provider.Question, bearer string) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, q.Method, q.URL, strings.NewReader(string(q.Body)))
	if err != nil {
		return reply{}, errImpossible
	}
	for name, value := range q.Header {
		request.Header.Set(name, value)
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	if !possible(request) {
		return reply{}, errImpossible
	}
	response, err := c.http.Do(request)
	if err != nil {
		return reply{}, transportError(err)
	}
	defer func() { _ = response.Body.Close() }() // Only read from, nothing to lose.
	body, err := io.ReadAll(io.LimitReader(response.Body, c.options.AnswerLimit+1))
	if err != nil {
		return reply{}, transportError(err)
	}
	if int64(len(body)) > c.options.AnswerLimit {
		return reply{}, fmt.Errorf("%w: it has more than %d bytes", provider.ErrUnreadable, c.options.AnswerLimit)
	}
	return reply{
		Reply:      provider.Reply{Status: response.StatusCode, Body: body},
		retryAfter: c.retryAfter(response.Header.Get("Retry-After")),
	}, nil
}

// errImpossible says that a question could not even be put. It is our fault,
// mostly a configured value; which one would be telling.
var errImpossible = errors.New("question is not a valid request")

// possible reports whether a request can leave this process. net/http refuses
// the others with errors that look like those of a connection.
func possible(r *http.Request) bool {
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

// transportError keeps the kind of a failure and drops its text: net/http
// quotes the whole URL.
func transportError(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("%w: %s", verdict.ErrTransport, kindOf(err))
}

// kindOf says in words that have no address in them why a connection gave no
// answer.
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

// retryAfter reads seconds or an HTTP date; what it cannot read is 0.
func (c *Client) retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(c.options.Now()), 0)
	}
	return 0
}
