package ingress

import (
	"bytes"
	"cmp"
	"errors"
	"io"
)

var (
	errChunk = errors.New("body has a malformed chunk")
	// ErrTrailersTooLarge means that chunk extensions and trailers are larger than
	// HeaderLimit.
	ErrTrailersTooLarge = errors.New("chunk extensions and trailers are over the limit of a header")
)

// maxChunkDigits bounds the hexadecimal digits of a chunk's size: eight are 4 GiB, which
// no parser overflows at.
const maxChunkDigits = 8

// readChunks reads a chunked body (RFC 9112 section 7.1), and no byte after it. plain is
// false for extensions, trailers and leading zeros, which are allowed but which parsers
// skip differently. Trailers are dropped. A line that does not end with CR LF or has a
// control character is an error.
//
// fasthttp's own reader is not used, because fasthttp does not read bodies here: see
// requestReader.
func (b *Body) readChunks() (plain bool, err error) {
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

// chunkSize parses the line before a chunk. It is odd if it has an extension, blanks or
// leading zeros.
func (b *Body) chunkSize() (size int, odd bool, err error) {
	line, err := b.nextLine()
	if err != nil {
		return 0, false, err
	}
	digits := 0
	for ; digits < len(line) && hexValue[line[digits]] >= 0; digits++ {
		if digits == maxChunkDigits {
			return 0, false, errChunk
		}
		size = size<<4 | int(hexValue[line[digits]])
	}
	extension := bytes.TrimLeft(line[digits:], " \t")
	if digits == 0 || len(extension) > 0 && extension[0] != ';' {
		return 0, false, errChunk
	}
	odd = len(line) > digits || digits > 1 && line[0] == '0'
	return size, odd, b.spend(len(line) - digits)
}

// spend counts n bytes of extensions or trailers.
func (b *Body) spend(n int) error {
	if b.spare -= n; b.spare < 0 {
		return ErrTrailersTooLarge
	}
	return nil
}

// nextLine reads a line and returns it without its CR LF, valid until the next call. It
// reads byte by byte, because the bytes after the body belong to the next request.
func (b *Body) nextLine() ([]byte, error) {
	b.line = b.line[:0]
	for {
		b.line = append(b.line, 0)
		last := len(b.line) - 1
		if n, err := b.stream.readBody(b.line[last:]); n == 0 {
			return nil, cmp.Or(err, io.ErrNoProgress)
		}
		switch c := b.line[last]; {
		case c == '\n' && last > 0 && b.line[last-1] == '\r':
			return b.line[:last-1], nil
		case c < ' ' && c != '\t' && c != '\r', c == 0x7f, last > 0 && b.line[last-1] == '\r':
			return nil, errChunk
		case last > b.spare+maxChunkDigits:
			return nil, ErrTrailersTooLarge
		}
	}
}

// hexValue is the value of a hexadecimal digit, -1 for any other byte.
var hexValue = func() (values [256]int8) {
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
