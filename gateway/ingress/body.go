package ingress

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// SmallBody is the size, in bytes, up to which a body needs no share of BodyMemory. Most
// webhooks are smaller: PicPay's documented examples have about 100 bytes, those of
// Checkout 500.
const SmallBody = 8 << 10

// minBuffer is the size of a body's first buffer, in bytes: enough for the usual webhook.
const minBuffer = 1 << 10

var (
	// ErrBodyTooLarge means that the body is larger than BodyLimit.
	ErrBodyTooLarge = errors.New("body is over the limit")
	// ErrBodyMemory means that the bodies which are being read take all of BodyMemory.
	ErrBodyMemory = errors.New("memory for request bodies is used up")
)

// bodyMemory bounds the bytes of all bodies while they are read, beyond the first SmallBody
// bytes of each.
type bodyMemory struct {
	limit         int64
	used          atomic.Int64
	decompressing chan struct{} // Holds a value for each body that is being decompressed.
}

func newBodyMemory(limit int) bodyMemory {
	return bodyMemory{limit: int64(limit), decompressing: make(chan struct{}, maxDecompressing)}
}

func (m *bodyMemory) take(n int) bool {
	if m.used.Add(int64(n)) > m.limit {
		m.used.Add(int64(-n))
		return false
	}
	return true
}

// Body is the body of a request.
type Body struct {
	Bytes []byte // Valid until Release.

	stream    bodyReader // The connection's bytes after the header, without an end.
	memory    *bodyMemory
	limit     int // Most bytes that Bytes may have.
	bodyLimit int // The server's BodyLimit.
	taken     int // Bytes taken of the memory.
	line      []byte
	spare     int // Bytes that chunk extensions and trailers may still have.
}

// bodies holds released bodies. Adapters keep nothing of a body, to which
// schemas/provider/providertest holds them.
var bodies = sync.Pool{New: func() any { return new(Body) }}

// Release returns the body's memory. A large buffer is not kept, because most bodies are
// small.
func (b *Body) Release() {
	b.memory.used.Add(int64(-b.taken))
	if cap(b.Bytes) > SmallBody {
		b.Bytes = nil
	}
	if cap(b.line) > minBuffer {
		b.line = nil
	}
	b.stream, b.memory, b.Bytes, b.taken = nil, nil, b.Bytes[:0], 0
	bodies.Put(b)
}

// ReadBody reads the whole body within BodyLimit and BodyMemory. The caller must release
// it, and calls MarkReceived before work that takes long. After an error the connection
// cannot be used again, because the rest of the body is not read: see CloseLingering.
func (s *Server) ReadBody(rc *fasthttp.RequestCtx, f Frame) (*Body, error) {
	b, _ := bodies.Get().(*Body) // The pool has no other type.
	b.memory, b.limit, b.bodyLimit, b.spare = &s.memory, s.options.BodyLimit, s.options.BodyLimit, s.options.HeaderLimit
	if !f.HasBody() {
		return b, nil
	}
	var err error
	if b.stream, err = streamOf(rc); err != nil {
		b.Release()
		return nil, err
	}
	if f.Chunked {
		var plain bool
		if plain, err = b.readChunks(); err == nil && !plain {
			CloseLingering(rc)
		}
	} else {
		b.limit = f.Length
		err = b.read(f.Length)
	}
	if err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

// streamOf returns the bytes of the request's connection after the header.
func streamOf(rc *fasthttp.RequestCtx) (bodyReader, error) {
	stream, ok := rc.Conn().(bodyReader)
	if !ok {
		return nil, fmt.Errorf("a connection of type %T has no body", rc.Conn())
	}
	return stream, nil
}

// read appends exactly n bytes. The buffer grows with the bytes that come, not with the
// declared length.
func (b *Body) read(n int) error {
	if n > b.limit-len(b.Bytes) {
		return ErrBodyTooLarge
	}
	for n > 0 {
		if len(b.Bytes) == cap(b.Bytes) && !b.grow() {
			return ErrBodyMemory
		}
		room := b.Bytes[len(b.Bytes):min(len(b.Bytes)+n, cap(b.Bytes))]
		got, err := b.stream.readBody(room)
		b.Bytes, n = b.Bytes[:len(b.Bytes)+got], n-got
		switch {
		case n == 0:
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case got == 0:
			return io.ErrNoProgress
		}
	}
	return nil
}

// grow doubles the buffer, and reports false if the memory is used up.
func (b *Body) grow() bool {
	size := max(min(max(2*cap(b.Bytes), SmallBody), b.limit), minBuffer)
	if more := size - max(cap(b.Bytes), SmallBody); more > 0 {
		if !b.memory.take(more) {
			return false
		}
		b.taken += more
	}
	grown := make([]byte, len(b.Bytes), size)
	copy(grown, b.Bytes)
	b.Bytes = grown
	return true
}
