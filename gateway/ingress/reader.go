package ingress

import (
	"bytes"
	"io"
	"net"
)

// readSize is the most bytes, in bytes, that a read takes while a header is read: more than
// most webhooks have in all. What of it belongs to the body is copied.
const readSize = 4 << 10

// headerEnd ends a header. fasthttp also takes a bare line feed for the end of a line. FrameOf
// refuses a field that ends so, and its connection is closed; after a request line that ends
// so the header still ends with these bytes, or has no field.
const headerEnd = "\r\n\r\n"

// requestReader divides a connection's bytes: Read, which fasthttp calls, never returns a
// byte after the end of a header together with one before it, and fasthttp reads no more
// until the request is answered. So a body is read by readBody alone. fasthttp 1.78.0
// (http.go, readBodyWithStreaming) reads up to 8 KiB of a body before the handler can
// authenticate the client. Before this type may go, check that a handler can refuse a
// request before any read of its body.
type requestReader struct {
	source  io.Reader
	buffer  []byte
	rest    []byte // The bytes of buffer that are read and not returned yet.
	matched int    // How many bytes of headerEnd the bytes that Read returned end with.
}

// Read reads bytes of a header.
func (r *requestReader) Read(p []byte) (n int, err error) {
	if len(r.rest) > 0 {
		n = copy(p, r.rest)
		end := r.scan(p[:n])
		r.consume(end)
		return end, nil
	}
	n, err = r.source.Read(p[:min(len(p), readSize)])
	if end := r.scan(p[:n]); end < n {
		r.buffer = append(r.buffer[:0], p[end:n]...)
		r.rest, n = r.buffer, end
	}
	return n, err
}

// scan returns how many of p come before the end of a header, that end included; all of them
// if it is not in p.
func (r *requestReader) scan(p []byte) int {
	for i := 0; i < len(p); {
		if r.matched == 0 { // The usual case: the end is far away, or in one piece.
			at := bytes.IndexByte(p[i:], headerEnd[0])
			if at < 0 {
				return len(p)
			}
			i, r.matched = i+at+1, 1
			continue
		}
		switch {
		case p[i] == headerEnd[r.matched]:
			r.matched++
		case p[i] == headerEnd[0]:
			r.matched = 1
		default:
			r.matched = 0
		}
		i++
		if r.matched == len(headerEnd) {
			r.matched = 0
			return i
		}
	}
	return len(p)
}

// readBody reads bytes after a header. It may read more of the source than it returns; the
// next Read begins with those.
func (r *requestReader) readBody(p []byte) (n int, err error) {
	if len(r.rest) == 0 {
		if len(p) > 1 {
			return r.source.Read(p)
		}
		// The lines of chunks are read byte by byte.
		if cap(r.buffer) == 0 {
			r.buffer = make([]byte, 0, minBuffer)
		}
		n, err = r.source.Read(r.buffer[:cap(r.buffer)])
		r.rest = r.buffer[:n]
	}
	n = copy(p, r.rest)
	r.consume(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// consume drops the first n bytes of rest, and a buffer that is large for an idle connection.
func (r *requestReader) consume(n int) {
	r.rest = r.rest[n:]
	if len(r.rest) == 0 && cap(r.buffer) > minBuffer {
		r.buffer, r.rest = nil, nil
	}
}

// bodyReader is a connection that was accepted by a listener, or a bareConn.
type bodyReader interface {
	readBody(p []byte) (int, error)
}

// bareConn is a connection without a listener.
type bareConn struct {
	net.Conn
	requestReader
}

// Read reads bytes of a header.
func (c *bareConn) Read(p []byte) (int, error) { return c.requestReader.Read(p) }
