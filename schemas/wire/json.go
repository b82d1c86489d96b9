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
// disagree), no nesting past MaxDepth. Unknown keys are accepted, and so are a
// byte order mark and bytes that are no UTF-8: senders leave the bytes of another
// encoding in texts that nobody reads. In a text that is read they become
// replacement characters; an ID refuses them. A part must be a Struct or a Part:
// one that is kept raw, for another decoder, has had only its own keys compared,
// letter by letter.
func Object(body []byte, dst any) error {
	body = unmarked(body)
	if start := bytes.TrimLeft(body, " \t\r\n"); len(start) == 0 || start[0] != '{' {
		if jsontext.Value(body).IsValid(reading) {
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

// unmarked is body without the byte order mark that some libraries write at the
// beginning of everything that is UTF-8.
func unmarked(body []byte) []byte { return bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) }

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

// Struct is an object inside a body, with null for one that is not there. An
// empty array stands for an empty object: PHP writes one where an object has no
// fields, because it has one type for both.
type Struct[T any] struct{ Fields T }

// UnmarshalJSONFrom reads the fields with the rules of the whole body.
func (s *Struct[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case '{':
		return json.UnmarshalDecode(d, &s.Fields)
	case 'n':
		return d.SkipValue()
	default:
		raw, err := d.ReadValue()
		if err == nil && !empty(raw) {
			err = errNoObject
		}
		return err
	}
}

var errNoObject = errors.New("field is not an object")

// empty reports whether raw is PHP's spelling of an object without fields.
func empty(raw []byte) bool {
	return len(raw) > 1 && raw[0] == '[' && len(bytes.TrimSpace(raw[1:len(raw)-1])) == 0
}

// Map reads an object that is kept raw within a body, whose keys are configured.
// What Struct takes for an empty object is one.
func Map(raw []byte) (fields map[string]jsontext.Value, err error) {
	if empty(raw) {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &fields, reading); err != nil {
		return nil, errNoObject
	}
	return fields, nil
}

// Part is an object inside a body. Whatever else stands in its place is no
// error and leaves the fields empty: a body whose type nobody knows may have
// anything there.
type Part[T any] struct {
	Fields  T
	Present bool // Something stands there, and be it no object; null does not.
}

// UnmarshalJSONFrom reads the fields with the rules of the whole body.
func (p *Part[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	kind := d.PeekKind()
	p.Present = kind != 'n'
	if kind != '{' {
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
		if verbatim(raw) {
			*t = Text(raw[1 : len(raw)-1])
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

// verbatim reports whether nothing in a JSON string has to be decoded.
func verbatim(raw []byte) bool {
	return len(raw) > 1 && !bytes.ContainsRune(raw, '\\') && utf8.Valid(raw)
}

// Cents reads the text as a decimal amount of reais. No text is 0.
func (t Text) Cents() (int64, error) {
	if t == "" {
		return 0, nil
	}
	return Cents(string(t))
}

// ID is an id: a JSON string, or a whole number, whose digits name the same thing.
// null is "". It has no other spelling: 1e5 and 100000.0 may be what a sender made
// of another text, and a text whose bytes are no UTF-8 could be anything.
type ID string

// UnmarshalJSON accepts a string, digits or null.
func (id *ID) UnmarshalJSON(raw []byte) error {
	switch kind := jsontext.Value(raw).Kind(); {
	case kind == 'n':
		*id = ""
		return nil
	case kind == '0' && len(bytes.Trim(raw, "0123456789")) == 0:
		*id = ID(raw)
		return nil
	case kind == '"' && verbatim(raw):
		*id = ID(raw[1 : len(raw)-1])
		return nil
	case kind != '"' || json.Unmarshal(raw, (*string)(id)) != nil: // Without leniency.
		return errWrongID
	}
	return nil
}

var errWrongID = errors.New("id is neither text nor a whole number")

// HintID is an ID where its message is understood, and may be anything where it is
// not, or where nobody depends on it.
type HintID struct {
	id    ID
	wrong bool
}

// UnmarshalJSON accepts any value.
func (h *HintID) UnmarshalJSON(raw []byte) error {
	if h.wrong = h.id.UnmarshalJSON(raw) != nil; h.wrong {
		h.id = ""
	}
	return nil
}

// Strict is the id, "" for none, or an error where something else stands there.
func (h HintID) Strict() (string, error) {
	if h.wrong {
		return "", errWrongID
	}
	return string(h.id), nil
}

// Loose is the id, and "" for anything else.
func (h HintID) Loose() string { return string(h.id) }

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
