package ingress

import (
	"errors"
	"fmt"
	"io"
	"sync"

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
	// ErrBodyShare is ErrBodyMemory where the bodies of one Holder take all that it may have.
	ErrBodyShare = fmt.Errorf("one account's share of the %w", ErrBodyMemory)
)

// Holder is who sends a body, by provider and account. The zero Holder may have all of
// BodyMemory, and any other one a quarter, but at least two bodies of BodyLimit: a gzipped body
// and its content are held at once.
type Holder struct{ Provider, Account string }

// bodyMemory bounds the bytes of all bodies while they are read, beyond the first SmallBody
// bytes of each.
type bodyMemory struct {
	limit, share  int           // Of all, and of one holder.
	decompressing chan struct{} // Holds a value for each body that is being decompressed.

	mu   sync.Mutex
	used int
	held map[Holder]int // Of the holders that hold anything.
}

func newBodyMemory(limit, body int) *bodyMemory {
	return &bodyMemory{
		limit: limit, share: max(limit/4, 2*body),
		decompressing: make(chan struct{}, maxDecompressing), held: map[Holder]int{},
	}
}

// take takes bytes for a holder, all or none.
func (m *bodyMemory) take(n int, by Holder) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.used+n > m.limit:
		return ErrBodyMemory
	case by != Holder{} && m.held[by]+n > m.share:
		return ErrBodyShare
	}
	m.used += n
	m.held[by] += n
	return nil
}

// free returns bytes that a holder has taken.
func (m *bodyMemory) free(n int, by Holder) {
	if n == 0 { // The usual body is small.
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
	if m.held[by] -= n; m.held[by] == 0 {
		delete(m.held, by)
	}
}

// taken is how many bytes all bodies take.
func (m *bodyMemory) taken() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Body is the body of a request.
type Body struct {
	Bytes []byte // Valid until Release.

	stream    bodyReader // The connection's bytes after the header, without an end.
	memory    *bodyMemory
	holder    Holder
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
	b.memory.free(b.taken, b.holder)
	if cap(b.Bytes) > SmallBody {
		b.Bytes = nil
	}
	if cap(b.line) > minBuffer {
		b.line = nil
	}
	b.stream, b.memory, b.Bytes, b.taken = nil, nil, b.Bytes[:0], 0
	bodies.Put(b)
}

// ReadBody reads the whole body within BodyLimit and the holder's share of BodyMemory. The
// caller must release it, and calls MarkReceived before work that takes long. After an error the connection
// cannot be used again, because the rest of the body is not read: see CloseLingering.
func (s *Server) ReadBody(rc *fasthttp.RequestCtx, f Frame, by Holder) (*Body, error) {
	b, _ := bodies.Get().(*Body) // The pool has no other type.
	b.memory, b.holder = s.memory, by
	b.limit, b.bodyLimit, b.spare = s.options.BodyLimit, s.options.BodyLimit, s.options.HeaderLimit
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
		if len(b.Bytes) == cap(b.Bytes) {
			if err := b.grow(); err != nil {
				return err
			}
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

// grow doubles the buffer, within the memory.
func (b *Body) grow() error {
	size := max(min(max(2*cap(b.Bytes), SmallBody), b.limit), minBuffer)
	if more := size - max(cap(b.Bytes), SmallBody); more > 0 {
		if err := b.memory.take(more, b.holder); err != nil {
			return err
		}
		b.taken += more
	}
	grown := make([]byte, len(b.Bytes), size)
	copy(grown, b.Bytes)
	b.Bytes = grown
	return nil
}
