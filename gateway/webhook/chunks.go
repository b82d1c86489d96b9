package webhook

import (
	"bytes"
	"cmp"
	"errors"
	"io"
)

var (
	errChunk        = errors.New("body has a malformed chunk")
	errLinesTooLong = errors.New("chunk extensions and trailers are over the limit of a header")
)

// maxChunkDigits bounds the hexadecimal digits of a chunk's size: eight say
// 4 GiB, and no reader overflows at them.
const maxChunkDigits = 8

// readChunks reads a body in chunks (RFC 9112 section 7.1), and nothing behind
// it. plain says that every reader sees the same end: without extensions,
// trailers and leading zeros, which are allowed but which readers skip in ways of
// their own. Trailers are dropped, because the caller is known by the header
// alone. A line that does not end with CR LF, or with a control character in
// it, is an error. fasthttp's own reader is not used: it skips a line feed in an
// extension and the bytes of odd trailers (http.go parseChunkSize and header.go
// parseTrailer, v1.51.0).
func (b *body) readChunks() (plain bool, err error) {
	for plain = true; ; {
		size, odd, err := b.chunkSize()
		if err != nil {
			return false, err
		}
		plain = plain && !odd
		if size == 0 {
			break
		}
		if err := b.read(size); err != nil {
			return false, err
		}
		if line, err := b.nextLine(); err != nil || len(line) > 0 {
			return false, errors.Join(errChunk, err)
		}
	}
	for {
		trailer, err := b.nextLine()
		if err != nil || len(trailer) == 0 {
			return plain, err
		}
		plain = false
		if _, _, _, ok := nextField(append(trailer, '\r', '\n')); !ok {
			return false, errChunk
		}
		if err := b.spend(len(trailer)); err != nil {
			return false, err
		}
	}
}

// chunkSize reads the line before a chunk. It is odd if it has more than the
// size as short as it can be written.
func (b *body) chunkSize() (size int, odd bool, err error) {
	line, err := b.nextLine()
	if err != nil {
		return 0, false, err
	}
	digits := 0
	for ; digits < len(line) && unhex[line[digits]] >= 0; digits++ {
		if digits == maxChunkDigits {
			return 0, false, errChunk
		}
		size = size<<4 | int(unhex[line[digits]])
	}
	extension := bytes.TrimLeft(line[digits:], " \t")
	if digits == 0 || len(extension) > 0 && extension[0] != ';' {
		return 0, false, errChunk
	}
	odd = len(line) > digits || digits > 1 && line[0] == '0'
	return size, odd, b.spend(len(line) - digits)
}

func (b *body) spend(n int) error {
	if b.spare -= n; b.spare < 0 {
		return errLinesTooLong
	}
	return nil
}

// nextLine reads up to CR LF, which it leaves away, one byte after the other:
// what is behind the body is the next request's. It is valid until the next one.
func (b *body) nextLine() ([]byte, error) {
	b.line = b.line[:0]
	for {
		b.line = append(b.line, 0)
		last := len(b.line) - 1
		if n, err := b.stream.Read(b.line[last:]); n == 0 {
			return nil, cmp.Or(err, io.ErrNoProgress)
		}
		switch c := b.line[last]; {
		case c == '\n' && last > 0 && b.line[last-1] == '\r':
			return b.line[:last-1], nil
		case c < ' ' && c != '\t' && c != '\r', c == 0x7f, last > 0 && b.line[last-1] == '\r':
			return nil, errChunk
		case last > b.spare+maxChunkDigits:
			return nil, errLinesTooLong
		}
	}
}

// unhex are the values of hexadecimal digits, -1 for all else.
var unhex = func() (values [256]int8) {
	for c := range values {
		switch {
		case '0' <= c && c <= '9':
			values[c] = int8(c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			values[c] = int8(c | 0x20 - 'a' + 10)
		default:
			values[c] = -1
		}
	}
	return values
}()
