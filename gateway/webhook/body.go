package webhook

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// usualBody is more than most webhooks have, in bytes. A body has that many
// whatever the budget says.
const usualBody = 8 << 10

// smallBody is the least room that a body gets, in bytes. It is enough for the
// documented examples: PicPay's have about 100, those of Checkout 500.
const smallBody = 1 << 10

var (
	errBodyTooLarge = errors.New("body is over the limit")
	errOverBudget   = errors.New("bodies that are being read take all the memory that they may")
)

// bodyBudget bounds the bytes that all bodies take together while they are read,
// beyond the first usualBody of each.
type bodyBudget struct {
	limit     int64
	used      atomic.Int64
	unpacking chan struct{} // One for each body that may be unpacked at once.
}

func (b *bodyBudget) take(n int) bool {
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(int64(-n))
		return false
	}
	return true
}

// body is the body of a request while it is read.
type body struct {
	stream io.Reader // The bytes behind the header, without a bound.
	budget *bodyBudget
	bytes  []byte
	limit  int // Most bytes that it may have.
	taken  int // Bytes of the budget.
	line   []byte
	spare  int // Bytes that chunk extensions and trailers may still have.
}

// bodies are released ones. Adapters keep nothing of what they read, which the
// conformance suite holds them to.
var bodies = sync.Pool{New: func() any { return new(body) }}

// release gives back what the body took. A large buffer is let go: it would be
// kept for the sake of small bodies.
func (b *body) release() {
	b.budget.used.Add(int64(-b.taken))
	if cap(b.bytes) > usualBody {
		b.bytes = nil
	}
	if cap(b.line) > smallBody {
		b.line = nil
	}
	b.stream, b.budget, b.bytes, b.taken = nil, nil, b.bytes[:0], 0
	bodies.Put(b)
}

// endless is a Content-Length, in bytes, behind which no request ends: bodies
// have 8 MiB at the most, and a chunk of one byte takes six.
const endless = 1 << 30

// readBody reads the whole body, within the limit. It says accepted when that
// went well; the body is then to be released. After any other code the
// connection cannot be used again, because the rest of the body is still on
// its way.
//
// fasthttp's stream counts against the Content-Length in the header, which
// headerReceived has hidden (streaming.go requestStream.Read, v1.51.0). Without
// Transfer-Encoding it adds and skips nothing, so that chunks are ours to read.
func (g *Gateway) readBody(rc *fasthttp.RequestCtx, f frame) (*body, code) {
	b, _ := bodies.Get().(*body) // There is nothing else in it.
	b.budget, b.limit, b.spare = &g.budget, g.options.BodyLimit, g.options.HeaderLimit
	if !f.hasBody() {
		return b, accepted
	}
	b.stream = rc.RequestBodyStream()
	var err error
	if f.chunked {
		rc.Request.Header.SetContentLength(endless)
		var plain bool
		if plain, err = b.readChunks(); err == nil && !plain {
			closeLingering(rc)
		}
	} else {
		rc.Request.Header.SetContentLength(f.length)
		b.limit = f.length
		err = b.read(f.length)
	}
	if err != nil {
		b.release()
		return nil, broken(err)
	}
	return b, accepted
}

// read appends exactly n bytes. Who only declares a large body gets no large
// buffer: it grows as the body comes.
func (b *body) read(n int) error {
	if n > b.limit-len(b.bytes) {
		return errBodyTooLarge
	}
	for n > 0 {
		if len(b.bytes) == cap(b.bytes) && !b.grow() {
			return errOverBudget
		}
		room := b.bytes[len(b.bytes):min(len(b.bytes)+n, cap(b.bytes))]
		got, err := b.stream.Read(room)
		b.bytes, n = b.bytes[:len(b.bytes)+got], n-got
		switch {
		case n == 0:
		case err == io.EOF: // fasthttp takes a connection that ends for the body's end.
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case got == 0:
			return io.ErrNoProgress
		}
	}
	return nil
}

// grow doubles the room, if the budget has it.
func (b *body) grow() bool {
	size := max(min(max(2*cap(b.bytes), usualBody), b.limit), smallBody)
	if more := size - max(cap(b.bytes), usualBody); more > 0 {
		if !b.budget.take(more) {
			return false
		}
		b.taken += more
	}
	grown := make([]byte, len(b.bytes), size)
	copy(grown, b.bytes)
	b.bytes = grown
	return true
}

// broken is the code for a request that could not be read to its end.
func broken(err error) code {
	var timeout net.Error
	switch {
	case errors.As(err, new(*fasthttp.ErrSmallBuffer)):
		return headerTooLarge
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, fasthttp.ErrTimeout):
		return tooSlow
	case errors.Is(err, errBodyTooLarge):
		return bodyTooLarge
	case errors.Is(err, errLinesTooLong):
		return headerTooLarge
	case errors.Is(err, errOverBudget):
		return unavailable
	case errors.Is(err, errPacked):
		return invalid
	}
	return malformed
}

// closeLingering gives up the rest of the request: the connection is closed after
// the answer, but not before the client had a chance to read it.
func closeLingering(rc *fasthttp.RequestCtx) {
	rc.SetConnectionClose()
	if c, ok := rc.Conn().(interface{ lingerAtClose() }); ok {
		c.lingerAtClose()
	}
}
