package webhook

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"
)

// usualBody is more than most webhooks have, and what fasthttp has read of one
// before we are asked.
const usualBody = 8 << 10

// bodies are buffers for bodies that nobody reads any more. Adapters keep
// nothing of what they read, which the conformance suite holds them to.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// release takes a body's buffer back. A large one is let go: it would be kept
// for the sake of small ones.
func release(body *bytes.Buffer) {
	if body.Cap() <= 4*usualBody {
		body.Reset()
		bodies.Put(body)
	}
}

// readBody reads the whole body, within the limit. It says accepted when that
// went well; the body is then to be released. After any other code the
// connection cannot be used again, because the rest of the body is still on
// its way.
func readBody(rc *fasthttp.RequestCtx, limit int) (*bytes.Buffer, code) {
	declared := rc.Request.Header.ContentLength()
	if declared > limit {
		return nil, bodyTooLarge
	}
	body, _ := bodies.Get().(*bytes.Buffer) // There is nothing else in it.
	stream := rc.RequestBodyStream()
	if stream == nil {
		return body, accepted
	}
	// Who only declares a large body gets no large buffer: it grows as it comes.
	body.Grow(min(max(declared, 0), usualBody-bytes.MinRead) + bytes.MinRead)
	_, err := body.ReadFrom(io.LimitReader(stream, int64(limit)+1))
	switch {
	case body.Len() > limit:
		release(body)
		return nil, bodyTooLarge
	case err != nil:
		release(body)
		return nil, broken(err)
	case declared >= 0 && body.Len() != declared: // fasthttp takes a connection that ends for the body's end.
		release(body)
		return nil, broken(io.ErrUnexpectedEOF)
	}
	return body, accepted
}

// broken is the code for a request that could not be read to its end.
func broken(err error) code {
	var timeout net.Error
	switch {
	case errors.As(err, new(*fasthttp.ErrSmallBuffer)):
		return headerTooLarge
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, fasthttp.ErrTimeout):
		return tooSlow
	case errors.As(err, new(fasthttp.ErrBrokenChunk)) && strings.HasSuffix(err.Error(), os.ErrDeadlineExceeded.Error()):
		return tooSlow // fasthttp hides the cause of a broken chunk, but not its words.
	}
	return malformed
}

// certain reports whether it is known where the request ends, and sees to it
// that after one whose end is in doubt nothing on its connection is taken for
// a request. That goes for every body in chunks: fasthttp skips a line feed
// in a chunk's extension and forgets bytes of odd trailers, and it does not
// show us the lines. Providers send a length.
func certain(rc *fasthttp.RequestCtx) bool {
	doubtful := string(rc.Request.Header.Protocol()) == unframed
	if doubtful || rc.Request.Header.ContentLength() == -1 {
		abandon(rc)
	}
	return !doubtful
}

// abandon gives up the rest of the request: the connection is closed after
// the answer, but not before the client had a chance to read it.
func abandon(rc *fasthttp.RequestCtx) {
	rc.SetConnectionClose()
	if c, ok := rc.Conn().(interface{ lingerAtClose() }); ok {
		c.lingerAtClose()
	}
}
