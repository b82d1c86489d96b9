// Package wire reads what comes from outside: JSON objects, forms, decimal
// money and dates, strictly and within limits. It is pure, keeps nothing of
// its input, and returns errors that name the problem but never quote a value.
package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// MaxDepth is how deep JSON from outside may nest.
const MaxDepth = 32

// Object decodes body into dst, a pointer to a struct. It refuses anything
// but one JSON object: no null, no array, nothing behind it, no key twice (and
// none of a struct's fields in two letter cases, since two readers could
// disagree), no nesting past MaxDepth, no invalid UTF-8. Unknown keys are
// accepted. A part must be a Part: one that is kept raw, for another decoder,
// has had only its own keys compared, letter by letter.
func Object(body []byte, dst any) error {
	if !utf8.Valid(body) {
		return errors.New("body is not valid UTF-8")
	}
	if start := bytes.TrimLeft(body, " \t\r\n"); len(start) == 0 || start[0] != '{' {
		if jsontext.Value(body).IsValid() {
			return errors.New("body is not a JSON object")
		}
		return errNotJSON
	}
	if tooDeep(body) {
		return fmt.Errorf("body nests deeper than %d", MaxDepth)
	}
	if err := json.Unmarshal(body, dst, reading); err != nil {
		return quiet(err)
	}
	return nil
}

// tooDeep reports whether body nests past MaxDepth, as far as it is JSON. Most
// bodies do not have so many brackets at all, which is quickly counted.
func tooDeep(body []byte) bool {
	if bytes.Count(body, []byte("{"))+bytes.Count(body, []byte("[")) <= MaxDepth {
		return false
	}
	d := jsontext.NewDecoder(bytes.NewReader(body), reading)
	for {
		if _, err := d.ReadToken(); err != nil {
			return false // The end, or no JSON, which is for the decoder to say.
		}
		if d.StackDepth() > MaxDepth {
			return true
		}
	}
}

// Part is an object inside a body. Whatever else stands in its place is no
// error and leaves the fields empty: a body whose type nobody knows may have
// anything there.
type Part[T any] struct{ Fields T }

// UnmarshalJSONFrom reads the fields with the rules of the whole body.
func (p *Part[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return d.SkipValue()
	}
	return json.UnmarshalDecode(d, &p.Fields)
}

var errNotJSON = errors.New("body is not JSON")

// reading makes the decoder read as the standard library's first one does,
// which others read the same messages with: letter case does not matter, '_'
// and '-' do, and half a surrogate pair is a replacement character. Unlike it,
// the decoder refuses what comes twice.
var reading = json.JoinOptions(
	json.MatchCaseInsensitiveNames(true), jsonv1.MatchCaseSensitiveDelimiter(true), jsontext.AllowInvalidUTF8(true),
)

// quiet drops the value that json quotes in its errors: it may be personal.
func quiet(err error) error {
	var wrong *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("body is cut off")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return twice(err)
	case errors.As(err, &syntax) && strings.Contains(syntax.Err.Error(), "after top-level value"):
		return errors.New("body has something behind its JSON object")
	case errors.As(err, &syntax):
		return errNotJSON
	case errors.As(err, &wrong):
		return &FieldError{Field: field(wrong.JSONPointer)}
	}
	return errors.New("body has a field that cannot be read")
}

// field is where in a document something is, as far as its names are not
// somebody's words.
func field(at jsontext.Pointer) string {
	name := strings.Join(slices.Collect(at.Tokens()), ".")
	if len(name) > 64 {
		return "deep inside"
	}
	return name
}

// Text is a JSON string or number, taken as text. Providers switch between
// the two for the same id. null is "".
type Text string

// UnmarshalJSON accepts a string, a number or null. raw is one JSON value, as
// the decoder found it.
func (t *Text) UnmarshalJSON(raw []byte) error {
	switch jsontext.Value(raw).Kind() {
	case '"':
		if len(raw) > 1 && !bytes.ContainsRune(raw, '\\') && utf8.Valid(raw) {
			*t = Text(raw[1 : len(raw)-1]) // Nothing in it has to be decoded.
			return nil
		}
		return json.Unmarshal(raw, (*string)(t), reading)
	case '0':
		*t = Text(raw)
		return nil
	case 'n':
		*t = ""
		return nil
	}
	return errors.New("field is neither text nor a number")
}

// Cents reads the text as a decimal amount of reais. No text is 0.
func (t Text) Cents() (int64, error) {
	if t == "" {
		return 0, nil
	}
	return Cents(string(t))
}

// ID is an id that must be a JSON string where its message is understood, and
// may be anything where it is not.
type ID struct {
	text  Loose
	wrong bool // Something else than a string stands there.
}

// UnmarshalJSON accepts any value.
func (id *ID) UnmarshalJSON(raw []byte) error {
	kind := jsontext.Value(raw).Kind()
	id.wrong = kind != '"' && kind != 'n'
	return id.text.UnmarshalJSON(raw)
}

// Strict is the id, "" for none, or an error where it is no string.
func (id ID) Strict() (string, error) {
	if id.wrong {
		return "", errors.New("id has the wrong type")
	}
	return string(id.text), nil
}

// Loose is the id, also where it is a number, and "" for anything else.
func (id ID) Loose() string { return string(id.text) }

// Loose is a JSON string or number taken as text, and "" for anything else.
// It is for fields that only inform: whatever a provider puts there, the rest
// of its message can still be used.
type Loose string

// UnmarshalJSON accepts any value.
func (l *Loose) UnmarshalJSON(raw []byte) error {
	if (*Text)(l).UnmarshalJSON(raw) != nil {
		*l = ""
	}
	return nil
}
