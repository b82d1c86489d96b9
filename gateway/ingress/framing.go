package ingress

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// Frame is what a request's header says about where the request ends.
type Frame struct {
	Ambiguous       bool // Two HTTP parsers may see the end of the request at different bytes (request smuggling).
	Chunked         bool
	Length          int  // Bytes of the body, 0 for chunks or no body.
	ExpectsContinue bool // The client may wait for 100 Continue before it sends the body.
}

// HasBody reports whether a body follows the header. A chunked one may be empty.
func (f Frame) HasBody() bool { return f.Chunked || f.Length > 0 }

// headerReceived is fasthttp's hook between header and body. It hides the body by a
// Content-Length of 0, because requestReader reads it, and the Expect header of a client that
// needs no 100 Continue: fasthttp 1.78.0 (server.go, serveConn) answers every other. FrameOf
// reads the raw header, which is unchanged.
func (*Server) headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	h.SetContentLength(0)
	if len(h.Peek(fasthttp.HeaderExpect)) > 0 {
		if f := FrameOf(h); f.Ambiguous || !f.ExpectsContinue || !f.HasBody() {
			h.Del(fasthttp.HeaderExpect)
		}
	}
	return fasthttp.RequestConfig{}
}

// expectReceived is fasthttp's hook for a client that waits for 100 Continue. A client that
// must not send its body is answered here, without the Expect header: fasthttp 1.78.0
// (server.go, serveConn) calls no handler for it, sends the response with the returned status,
// and closes the connection. The documentation of ExpectHandler wants the response unchanged,
// so before an update check that TestRefusedByTheHeaderWithoutTheBody of gateway/webhook passes.
func (s *Server) expectReceived(rc *fasthttp.RequestCtx) int {
	if s.sendsContinue(rc) {
		return fasthttp.StatusContinue
	}
	rc.Request.Header.Del(fasthttp.HeaderExpect)
	s.options.Handler(rc)
	return rc.Response.StatusCode()
}

// sendsContinue reports whether a client gets 100 Continue. A panic is not handled here:
// it repeats in the handler, which answers it.
func (s *Server) sendsContinue(rc *fasthttp.RequestCtx) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return s.options.SendContinue(rc, FrameOf(&rc.Request.Header))
}

// FrameOf reads a request's framing from the raw header fields, strictly. fasthttp 1.78.0
// (header.go) takes a Content-Length beside a Transfer-Encoding, folded lines and bare line
// feeds. A proxy that parses the same bytes otherwise would see a body where fasthttp sees a
// request. Before this may go, check that smuggle_test.go of gateway/webhook passes with
// what fasthttp itself refuses.
func FrameOf(h *fasthttp.RequestHeader) (f Frame) {
	f.Ambiguous = true
	protocol := h.Protocol()
	http11 := string(protocol) == "HTTP/1.1"
	if !http11 && string(protocol) != "HTTP/1.0" || bytes.ContainsFunc(h.RequestURI(), isBlank) {
		return f
	}
	var lengths, codings, hosts int
	for rest := h.RawHeaders(); len(rest) > 0 && string(rest) != "\r\n"; {
		name, value, after, ok := nextField(rest)
		if !ok {
			return f
		}
		rest = after
		switch {
		case equalFold(name, fasthttp.HeaderContentLength):
			lengths++
			if f.Length, ok = decimal(bytes.Trim(value, " \t")); !ok {
				return f
			}
		case equalFold(name, fasthttp.HeaderHost):
			hosts++
		case equalFold(name, fasthttp.HeaderExpect):
			f.ExpectsContinue = f.ExpectsContinue || http11 && equalFold(bytes.Trim(value, " \t"), "100-continue")
		case equalFold(name, fasthttp.HeaderTransferEncoding):
			codings++
			f.Chunked = true
			if !http11 || !equalFold(bytes.Trim(value, " \t"), "chunked") {
				return f
			}
		}
	}
	f.Ambiguous = lengths+codings > 1 || hosts > 1 || hosts == 0 && http11
	return f
}

// decimal parses a length of at most 18 digits, which does not overflow an int of 64 bits.
func decimal(digits []byte) (n int, ok bool) {
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// isBlank reports a character that some parsers take for the end of the request target.
func isBlank(r rune) bool { return r <= ' ' || r == 0x7f }

func equalFold(name []byte, want string) bool {
	return len(name) == len(want) && bytes.EqualFold(name, []byte(want))
}

// nextField parses one header field: a name that is a token, a colon right after it, and
// CR LF at the end.
func nextField(raw []byte) (name, value, after []byte, ok bool) {
	end := bytes.IndexByte(raw, '\n')
	if end < 1 || raw[end-1] != '\r' {
		return nil, nil, nil, false
	}
	name, value, ok = bytes.Cut(raw[:end-1], []byte(":"))
	if !ok || len(name) == 0 || bytes.IndexByte(value, '\r') >= 0 || bytes.IndexByte(value, 0) >= 0 {
		return nil, nil, nil, false
	}
	for _, c := range name {
		if !tokenChar[c] {
			return nil, nil, nil, false
		}
	}
	return name, value, raw[end+1:], true
}

// tokenChar is the set of characters of a token (RFC 9110 section 5.6.2).
var tokenChar = func() (set [256]bool) {
	for c := range set {
		set[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' ||
			bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0
	}
	return set
}()
