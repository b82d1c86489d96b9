package ingress

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"sync"
)

// ErrNotGzip means that a body is not one complete gzip member.
var ErrNotGzip = errors.New("body is not what gzip makes")

// maxDecompressing is how many bodies are decompressed at once; further ones wait. Each
// takes 44 KiB beside its result (Go 1.26, compress/flate/inflate.go, decompressor), all of
// them less than 1 MiB, which is not counted in BodyMemory.
const maxDecompressing = 16

// decompressor reads one gzip member from memory, and nothing after it.
type decompressor struct {
	gzip.Reader
	compressed bytes.Reader
}

// decompressors holds released ones.
var decompressors = sync.Pool{New: func() any { return new(decompressor) }}

func (d *decompressor) release() {
	d.compressed.Reset(nil) // gzip.Reader keeps its source.
	decompressors.Put(d)
}

// Decompress replaces a body by its content before gzip, of at most BodyLimit bytes. Both
// count in BodyMemory while they are held, beyond the first SmallBody bytes of each.
func (b *Body) Decompress() error {
	b.memory.decompressing <- struct{}{}
	defer func() { <-b.memory.decompressing }()
	taken := b.taken
	d, _ := decompressors.Get().(*decompressor) // The pool has no other type.
	defer d.release()
	d.compressed.Reset(b.Bytes)
	if d.Reset(&d.compressed) != nil {
		return ErrNotGzip
	}
	d.Multistream(false) // Members are not read one after the other: each of many empty ones would cost as much as a full one.
	b.Bytes, b.limit = nil, b.bodyLimit
	if err := b.readAll(d); err != nil {
		return err
	}
	if d.compressed.Len() > 0 {
		return ErrNotGzip
	}
	b.memory.free(taken, b.holder)
	b.taken -= taken
	return nil
}

// readAll appends the decompressed bytes.
func (b *Body) readAll(from io.Reader) error {
	for {
		if len(b.Bytes) == cap(b.Bytes) && len(b.Bytes) < b.limit {
			if err := b.grow(); err != nil {
				return err
			}
		}
		room := b.Bytes[len(b.Bytes):min(cap(b.Bytes), b.limit)]
		var over [1]byte
		if len(room) == 0 {
			room = over[:]
		}
		n, err := from.Read(room)
		switch {
		case n > 0 && len(b.Bytes) == b.limit:
			return ErrBodyTooLarge
		case err == io.EOF:
			b.Bytes = b.Bytes[:len(b.Bytes)+n]
			return nil
		case err != nil:
			return ErrNotGzip
		}
		b.Bytes = b.Bytes[:len(b.Bytes)+n]
	}
}
