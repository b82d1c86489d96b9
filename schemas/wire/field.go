package wire

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// FieldError is a body with a field that cannot be read. It says which one, with
// the names of the objects around it, and never shows a value.
type FieldError struct {
	Field string // "" where its name could be somebody's words.
	Twice bool   // Its key comes twice; else it has the wrong type.
}

func (e *FieldError) Error() string {
	switch {
	case e.Twice && e.Field == "":
		return "body has a key twice"
	case e.Twice:
		return fmt.Sprintf("body has the key %s twice", e.Field)
	}
	return fmt.Sprintf("field %s has the wrong type", e.Field)
}

// twice is a key that comes twice. It need not be one that we read, so that its
// name is shown only where it looks like the name of a field.
func twice(err error) error {
	var at *jsontext.SyntacticError
	if !errors.As(err, &at) {
		return &FieldError{Twice: true}
	}
	name := field(at.JSONPointer)
	if strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.") != "" {
		name = ""
	}
	return &FieldError{Field: name, Twice: true}
}
