package webhook

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"sync"
)

var errPacked = errors.New("body is not what gzip makes")

// mostUnpacking is how many bodies are unpacked at once. Unpacking works from
// memory and takes no longer than the processor needs, so the next one waits for
// its turn. Beside the result it takes about 44 KiB: the 32 KiB that deflate may
// refer back to, and its tables (compress/flate inflate.go, decompressor, Go 1.26).
// Together that is below a MiB, which no budget needs to count: a small packed body
// is read whatever the budget says, as a small plain one is.
const mostUnpacking = 16

// unpacker reads one gzip member from memory, and nothing behind it.
type unpacker struct {
	gzip.Reader
	packed bytes.Reader
}

// unpackers are released ones.
var unpackers = sync.Pool{New: func() any { return new(unpacker) }}

func (u *unpacker) release() {
	u.packed.Reset(nil) // The reader keeps its source.
	unpackers.Put(u)
}

// unpack replaces a body by what gzip packed into it, at most limit bytes. Packed
// bytes and unpacked ones, beyond the first usualBody of each, count against the
// budget as long as they are held, so that a small body which becomes a large one
// takes no more than a large one does.
func (b *body) unpack(limit int) error {
	b.budget.unpacking <- struct{}{}
	defer func() { <-b.budget.unpacking }()
	packed := b.taken
	u, _ := unpackers.Get().(*unpacker) // There is nothing else in it.
	defer u.release()
	u.packed.Reset(b.bytes)
	if u.Reset(&u.packed) != nil {
		return errPacked
	}
	u.Multistream(false) // Each of many empty ones would cost as much as a full one.
	b.bytes, b.limit = nil, limit
	if err := b.readAll(u); err != nil {
		return err
	}
	if u.packed.Len() > 0 {
		return errPacked
	}
	b.budget.used.Add(int64(-packed))
	b.taken -= packed
	return nil
}

// readAll appends everything that comes from a body that is being unpacked.
func (b *body) readAll(from io.Reader) error {
	for {
		if len(b.bytes) == cap(b.bytes) && len(b.bytes) < b.limit && !b.grow() {
			return errOverBudget
		}
		room := b.bytes[len(b.bytes):min(cap(b.bytes), b.limit)]
		var over [1]byte
		if len(room) == 0 {
			room = over[:]
		}
		n, err := from.Read(room)
		switch {
		case n > 0 && len(b.bytes) == b.limit:
			return errBodyTooLarge
		case err == io.EOF:
			b.bytes = b.bytes[:len(b.bytes)+n]
			return nil
		case err != nil:
			return errPacked
		}
		b.bytes = b.bytes[:len(b.bytes)+n]
	}
}
