// Package wire reads what comes from outside: JSON objects, forms, decimal
// money and dates, strictly and within limits. It is pure, keeps nothing of
// its input, and returns errors that name the problem but never quote a value.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep JSON from outside may nest.
const MaxDepth = 32

// Object decodes body into dst, a pointer to a struct. It refuses anything
// but one JSON object: no null, no array, nothing behind it, no key twice (not
// even in another letter case, since two readers could disagree), no nesting
// past MaxDepth, no invalid UTF-8. Unknown keys are accepted.
func Object(body []byte, dst any) error {
	if !utf8.Valid(body) {
		return errors.New("body is not valid UTF-8")
	}
	if start := bytes.TrimLeft(body, " \t\r\n"); len(start) == 0 || start[0] != '{' {
		if json.Valid(body) {
			return errors.New("body is not a JSON object")
		}
		return errNotJSON
	}
	if err := wellShaped(body); err != nil {
		return err
	}
	return Part(body, dst)
}

// Part decodes a part of a body that Object has read, kept as json.RawMessage,
// into dst. The shape of the whole was looked at then, so it is not again.
func Part(raw json.RawMessage, dst any) error {
	if start := bytes.TrimLeft(raw, " \t\r\n"); len(start) == 0 || start[0] != '{' {
		return errors.New("a part of the body is not a JSON object")
	}
	if err := json.Unmarshal(raw, dst); err != nil {
		return quiet(err)
	}
	return nil
}

var errNotJSON = errors.New("body is not JSON")

// quiet drops the value that json quotes in its errors: it may be personal.
func quiet(err error) error {
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrong):
		return fmt.Errorf("field %s has the wrong type", wrong.Field)
	case !errors.As(err, &syntax):
		return errors.New("body has a field that cannot be read")
	case strings.Contains(syntax.Error(), "unexpected end"):
		return errors.New("body is cut off")
	case strings.Contains(syntax.Error(), "after top-level value"):
		return errors.New("body has something behind its JSON object")
	}
	return errNotJSON
}

// Text is a JSON string or number, taken as text. Providers switch between
// the two for the same id. null is "".
type Text string

// UnmarshalJSON accepts a string, a number or null.
func (t *Text) UnmarshalJSON(raw []byte) error {
	switch {
	case len(raw) > 1 && raw[0] == '"':
		if !bytes.ContainsRune(raw, '\\') && utf8.Valid(raw) {
			*t = Text(raw[1 : len(raw)-1]) // Nothing in it has to be decoded.
			return nil
		}
		return json.Unmarshal(raw, (*string)(t))
	case bytes.Equal(raw, []byte("null")):
		*t = ""
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(raw, &n); err != nil {
		return errors.New("field is neither text nor a number")
	}
	*t = Text(n.String())
	return nil
}

// Cents reads the text as a decimal amount of reais. No text is 0.
func (t Text) Cents() (int64, error) {
	if t == "" {
		return 0, nil
	}
	return Cents(string(t))
}

// Loose is a JSON string or number taken as text, and "" for anything else.
// It is for fields that only inform: whatever a provider puts there, the rest
// of its message can still be used.
type Loose string

// UnmarshalJSON accepts any value.
func (l *Loose) UnmarshalJSON(raw []byte) error {
	var t Text
	if err := t.UnmarshalJSON(raw); err != nil {
		t = ""
	}
	*l = Loose(t)
	return nil
}
