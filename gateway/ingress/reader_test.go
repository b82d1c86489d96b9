package ingress

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// pieces is a source whose reads end where a network packet would.
type pieces [][]byte

func (p *pieces) Read(into []byte) (int, error) {
	for len(*p) > 0 && len((*p)[0]) == 0 {
		*p = (*p)[1:]
	}
	if len(*p) == 0 {
		return 0, io.EOF
	}
	n := copy(into, (*p)[0])
	(*p)[0] = (*p)[0][n:]
	return n, nil
}

// However the bytes arrive and are asked for, none is lost or read twice, and what fasthttp
// reads ends with the header.
func TestRequestReaderEndsAtTheHeader(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		header := rapid.SliceOf(rapid.SampledFrom([]byte("\r\n\r\na"))).Draw(t, "header")
		if i := bytes.Index(header, []byte(headerEnd)); i >= 0 {
			header = header[:i]
		}
		header = append(header, headerEnd...)
		header = header[:bytes.Index(header, []byte(headerEnd))+len(headerEnd)]
		body := rapid.SliceOfN(rapid.SampledFrom([]byte("\r\nb")), 0, 3*minBuffer).Draw(t, "body")
		next := []byte("GET")
		all := slices.Concat(header, body, next)
		source := pieces{}
		for rest := all; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "packet")
			source, rest = append(source, slices.Clone(rest[:n])), rest[n:]
		}
		r := &requestReader{source: &source}
		buffer := make([]byte, 2*len(all)) // As fasthttp's, which every read overwrites.
		read := func(from func([]byte) (int, error), most int) []byte {
			n, err := from(buffer[:rapid.IntRange(1, max(1, most)).Draw(t, "room")])
			if err != nil || n == 0 {
				t.Fatalf("%d bytes, error %v", n, err)
			}
			return buffer[:n]
		}
		var got []byte
		for !bytes.HasSuffix(got, []byte(headerEnd)) {
			got = append(got, read(r.Read, 2*len(all))...)
		}
		if !bytes.Equal(got, header) {
			t.Fatalf("the header is %q, want %q", got, header)
		}
		got = nil
		for len(got) < len(body) {
			got = append(got, read(r.readBody, len(body)-len(got))...)
		}
		if !bytes.Equal(got, body) {
			t.Fatalf("the body is %q, want %q", got, body)
		}
		if rest, err := io.ReadAll(iotest.OneByteReader(r)); err != nil || !bytes.Equal(rest, next) {
			t.Fatalf("the next request is %q, error %v", rest, err)
		}
	})
}
