package wire

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// MaxPairs is how many key-value pairs a form may have. Yapay sends five for
// each product of a cart, so there is room for two thousand products.
const MaxPairs = 10_000

// Form reads an application/x-www-form-urlencoded body. Repeated keys keep
// their order. Values that are not valid UTF-8 are read as ISO-8859-1, which
// old systems still send. Stray percent signs stay as they are, because
// merchants' product texts contain them unescaped.
func Form(body []byte) (url.Values, error) {
	if strings.Count(string(body), "&") >= MaxPairs {
		return nil, errors.New("form has too many fields")
	}
	form := url.Values{}
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, value = unescape(key), unescape(value)
		form[key] = append(form[key], value)
	}
	if len(form) == 0 {
		return nil, errors.New("form is empty")
	}
	return form, nil
}

func unescape(s string) string {
	plain, err := url.QueryUnescape(s)
	if err != nil {
		plain = lenient(s)
	}
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
