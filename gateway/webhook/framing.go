package webhook

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// frame is what the header says about where the request ends.
type frame struct {
	certain bool // Every reader of the request agrees on where it ends.
	last    bool // The client wants the connection to be closed after it.
	chunked bool // The body comes in chunks.
	length  int  // Bytes of the body, 0 for chunks or no body.
	expects bool // The client may wait for 100 Continue before it sends the body.
}

func (f frame) hasBody() bool { return f.chunked || f.length > 0 }

// headerReceived is called by fasthttp between header and body. It hides the
// body: fasthttp would read up to 8 KiB of it before the handler can say who is
// calling (http.go readBodyWithStreaming, v1.51.0), and would send 100 Continue
// to everybody. The handler finds the frame in the raw fields, which stay.
func (g *Gateway) headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	h.SetContentLength(0)
	if len(h.Peek(fasthttp.HeaderExpect)) > 0 {
		if g.expectsContinue(h) {
			h.Set(fasthttp.HeaderExpect, "100-continue") // fasthttp knows it in lower case only.
		} else {
			h.Del(fasthttp.HeaderExpect)
		}
	}
	return fasthttp.RequestConfig{}
}

// frameOf reads the raw header fields of a request. fasthttp is generous: it
// takes the last of two lengths, any Transfer-Encoding for chunked, folded lines
// and bare line feeds. A proxy before us may read the same bytes otherwise, and
// what is a body to it would be a request to us.
func frameOf(h *fasthttp.RequestHeader) (f frame) {
	protocol := h.Protocol()
	http11 := string(protocol) == "HTTP/1.1"
	if !http11 && string(protocol) != "HTTP/1.0" || bytes.ContainsFunc(h.RequestURI(), blank) {
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
		case is(name, fasthttp.HeaderContentLength):
			lengths++
			if f.length, ok = decimal(bytes.Trim(value, " \t")); !ok {
				return f
			}
		case is(name, fasthttp.HeaderHost):
			hosts++
		case is(name, fasthttp.HeaderConnection):
			f.last = f.last || lists(value, "close")
		case is(name, fasthttp.HeaderExpect):
			f.expects = f.expects || http11 && is(bytes.Trim(value, " \t"), "100-continue")
		case is(name, fasthttp.HeaderTransferEncoding):
			codings++
			f.chunked = true
			if !http11 || !is(bytes.Trim(value, " \t"), "chunked") {
				return f
			}
		}
	}
	f.certain = lengths+codings <= 1 && (hosts == 1 || hosts == 0 && !http11)
	return f
}

// decimal reads a length of at most 18 digits, which no int overflows.
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

// lists reports whether one of the words of a field's value is want, in any case
// (RFC 9110 section 7.6.1).
func lists(value []byte, want string) bool {
	for word := range bytes.SplitSeq(value, []byte(",")) {
		if is(bytes.Trim(word, " \t"), want) {
			return true
		}
	}
	return false
}

// blank are the characters that end a part of the request line for some.
func blank(r rune) bool { return r <= ' ' || r == 0x7f }

func is(name []byte, want string) bool {
	return len(name) == len(want) && bytes.EqualFold(name, []byte(want))
}

// nextField takes one header field off raw: a name that is a token, with the
// colon right behind it, and a line end of two characters.
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
		if !token[c] {
			return nil, nil, nil, false
		}
	}
	return name, value, raw[end+1:], true
}

// token are the characters of a header's name (RFC 9110 section 5.6.2).
var token = func() (set [256]bool) {
	for c := range set {
		set[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' ||
			bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0
	}
	return set
}()
