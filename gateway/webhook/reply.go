package webhook

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// code is the result of a webhook: accepted, or the number in the error envelope, whose
// first three digits are the HTTP status.
type code int

// The codes, in the order of the checks. 400100, 408100 and 431100 are about the HTTP
// message itself and can precede all others; the rest are the numbers of Xekout's
// contract.
const (
	accepted         code = 200
	malformed        code = 400100
	tooSlow          code = 408100
	headerTooLarge   code = 431100
	notFound         code = 404100
	methodNotAllowed code = 405100
	bodyTooLarge     code = 413100
	notPermitted     code = 401100
	wrongToken       code = 400105
	encodedBody      code = 415100
	invalid          code = 400103
	unavailable      code = 503100
)

// codes lists every code.
func codes() []code {
	return []code{
		accepted, malformed, tooSlow, headerTooLarge, notFound, methodNotAllowed, bodyTooLarge,
		notPermitted, wrongToken, encodedBody, invalid, unavailable,
	}
}

func (c code) message() string {
	switch c {
	case accepted:
		return "Ok"
	case malformed:
		return "Request is malformed."
	case tooSlow:
		return "Request took too long."
	case headerTooLarge:
		return "Request header too large."
	case notFound:
		return "Not found."
	case methodNotAllowed:
		return "Method not allowed."
	case bodyTooLarge:
		return "Request body too large."
	case notPermitted:
		return "Operation not permitted."
	case wrongToken:
		return "Invalid seller token provided."
	case encodedBody:
		return "Content encoding not supported."
	case invalid:
		return "Data for webhook invalid."
	case unavailable:
		return "Temporarily unavailable."
	}
	return ""
}

// Answer is one answer to a webhook, as it is documented.
type Answer struct {
	Status  int
	Code    int    // In the error envelope; 0 in the answer of a stored webhook, which is text.
	Message string // The text, or the message in the envelope.
	Header  string // A header that this answer has beside its Content-Type, "" for none.
}

// Answers lists every answer, in the order of the checks.
func Answers() []Answer {
	all := make([]Answer, 0, len(codes()))
	for _, c := range codes() {
		a := Answer{Status: int(c) / 1000, Code: int(c), Message: c.message()}
		switch c {
		case accepted:
			a.Status, a.Code = int(c), 0
		case methodNotAllowed:
			a.Header = fasthttp.HeaderAllow
		case encodedBody:
			a.Header = fasthttp.HeaderAcceptEncoding
		case unavailable:
			a.Header = fasthttp.HeaderRetryAfter
		default: // No further header.
		}
		all = append(all, a)
	}
	return all
}

// label is the code as a metric label and in logs.
func (c code) label() string {
	if c == accepted {
		return "accepted"
	}
	return strconv.Itoa(int(c))
}

// envelope returns the JSON body of an error.
func (c code) envelope(message string) string {
	return fmt.Sprintf(`{"status":"error","code":%d,"message":%q}`, int(c), message)
}

// answer writes the reply for c. A code always has the same bytes, so that a 401 does not
// tell what was wrong.
func (g *Gateway) answer(rc *fasthttp.RequestCtx, c code) {
	if c == accepted {
		rc.SetStatusCode(fasthttp.StatusOK)
		rc.SetContentType("text/plain")
		rc.SetBodyString(c.message())
		return
	}
	rc.SetStatusCode(int(c) / 1000)
	rc.SetContentType("application/json")
	rc.SetBodyString(c.envelope(c.message()))
	switch c {
	case methodNotAllowed:
		rc.Response.Header.Set("Allow", "POST")
	case encodedBody:
		rc.Response.Header.Set("Accept-Encoding", "gzip, identity")
	case unavailable:
		seconds := int(math.Ceil(float64(g.options.RetryAfter) / float64(time.Second)))
		rc.Response.Header.Set("Retry-After", strconv.Itoa(seconds))
	default: // No further header.
	}
}
