package webhook

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// unframed stands for the protocol of a request whose end is in doubt.
// fasthttp asks us about the header where we cannot answer yet, so we leave a
// mark that no request can carry there: framed refuses it too.
const unframed = "unframed"

// judge marks a request whose header leaves room for two readings. Its body is
// not waited for, because nobody knows how long it is.
func judge(h *fasthttp.RequestHeader) {
	certain, last := framed(h)
	if last {
		h.SetConnectionClose() // fasthttp knows the word in lower case and alone only.
	}
	if !certain {
		h.SetContentLength(0)
		h.Del(fasthttp.HeaderExpect)
		h.SetProtocol(unframed)
	}
}

// framed reports whether every reader of the request agrees on where it ends, and
// whether it is the last on its connection by the client's will.
// fasthttp is generous: it takes the last of two lengths, any Transfer-Encoding
// for chunked, folded lines and bare line feeds. A proxy before us may read
// the same bytes otherwise, and what is a body to it would be a request to us.
func framed(h *fasthttp.RequestHeader) (certain, last bool) {
	protocol := h.Protocol()
	http11 := string(protocol) == "HTTP/1.1"
	if !http11 && string(protocol) != "HTTP/1.0" || bytes.ContainsFunc(h.RequestURI(), blank) {
		return false, false
	}
	var lengths, codings, hosts int
	for rest := h.RawHeaders(); len(rest) > 0 && string(rest) != "\r\n"; {
		name, value, after, ok := nextField(rest)
		if !ok {
			return false, last
		}
		rest = after
		switch {
		case is(name, fasthttp.HeaderContentLength):
			lengths++
		case is(name, fasthttp.HeaderHost):
			hosts++
		case is(name, fasthttp.HeaderConnection):
			last = last || lists(value, "close")
		case is(name, fasthttp.HeaderTransferEncoding):
			codings++
			if !http11 || !is(bytes.Trim(value, " \t"), "chunked") {
				return false, last
			}
		}
	}
	return lengths+codings <= 1 && (hosts == 1 || hosts == 0 && !http11), last
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
