package wire

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxPairs is how many key-value pairs a form may have. Yapay sends five for
// each product of a cart, so there is room for two thousand products.
const MaxPairs = 10_000

// Form reads an application/x-www-form-urlencoded body. Repeated keys keep
// their order, and a byte order mark is skipped. Values that are not valid UTF-8
// are read as ISO-8859-1, which old systems still send. Stray percent signs stay as they are, because
// merchants' product texts contain them unescaped.
func Form(body []byte) (url.Values, error) {
	body = unmarked(body)
	if strings.Count(string(body), "&") >= MaxPairs {
		return nil, errTooManyFields
	}
	form := url.Values{}
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		// As strings of their own: an id that is kept must not keep the whole body.
		key, value = strings.Clone(unescape(key)), strings.Clone(unescape(value))
		form[key] = append(form[key], value)
	}
	if len(form) == 0 {
		return nil, errEmptyForm
	}
	return form, nil
}

var (
	errTooManyFields = errors.New("form has too many fields")
	errEmptyForm     = errors.New("form is empty")
	errCutForm       = errors.New("form is cut off or malformed")
)

// FormOf is Form for a body of the given media type, which may also be
// multipart/form-data. The body decides: without the boundary that its type names
// it is read as any other form. Files are skipped, and a body without its last
// boundary is refused, because what it would say there is unknown.
func FormOf(mediaType string, body []byte) (url.Values, error) {
	kind, parameters, err := mime.ParseMediaType(mediaType)
	boundary := parameters["boundary"]
	if err != nil || kind != "multipart/form-data" || boundary == "" || !bytes.Contains(body, []byte("--"+boundary)) {
		return Form(body)
	}
	body = unmarked(body)
	last := []byte("\n--" + boundary + "--") // Of a header that is cut off, Reader says no more than of the end.
	if !bytes.Contains(body, last) && !bytes.HasPrefix(body, last[1:]) {
		return nil, errCutForm
	}
	form := url.Values{}
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for fields := 0; ; fields++ {
		part, err := parts.NextPart()
		switch {
		case errors.Is(err, io.EOF) && len(form) == 0:
			return nil, errEmptyForm
		case errors.Is(err, io.EOF):
			return form, nil
		case err != nil:
			return nil, errCutForm
		case fields == MaxPairs:
			return nil, errTooManyFields
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, errCutForm
		}
		if key := part.FormName(); key != "" && part.FileName() == "" {
			key = readable(key)
			form[key] = append(form[key], readable(string(value)))
		}
	}
}

func unescape(s string) string {
	plain, err := url.QueryUnescape(s)
	if err != nil {
		plain = lenient(s)
	}
	return readable(plain)
}

// readable is text as it stands where it is UTF-8, else read as ISO-8859-1.
func readable(plain string) string {
	if utf8.ValidString(plain) {
		return plain
	}
	latin := make([]rune, 0, len(plain))
	for i := 0; i < len(plain); i++ {
		latin = append(latin, rune(plain[i]))
	}
	return string(latin)
}

// lenient decodes the escapes that are well formed and keeps the rest.
func lenient(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b.WriteByte(' ')
		case s[i] == '%' && i+2 < len(s) && hex(s[i+1]) && hex(s[i+2]):
			plain, _ := url.PathUnescape(s[i : i+3])
			b.WriteString(plain)
			i += 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
