package config

import (
	"reflect"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// reference is a value that is resolved only by the role that needs it: a
// secret, or an account's setting. The zero reference is an absent key.
type reference struct {
	path  string // Where it stands, for problems; "" for an absent key.
	line  int
	word  word
	file  string // {file: path} instead of a word.
	plain bool   // Known to be no secret, so that Redacted may show it.
}

func (d *decoder) reference(target *reference, node *yaml.Node, path string) {
	r := reference{path: path, line: max(node.Line, 1)}
	if node.Kind == yaml.MappingNode {
		var named struct {
			File string `yaml:"file"`
		}
		before := len(d.problems)
		d.structure(reflect.ValueOf(&named).Elem(), node, path)
		if r.file = named.File; r.file == "" && len(d.problems) == before {
			d.refuse(node, path, "names no file; write {file: path}")
			return
		}
		*target = r
		return
	}
	if !d.single(node, path) {
		return
	}
	var advice string
	if r.word, advice = split(node.Value); advice != "" {
		d.refuse(node, path, "%s", advice)
		return
	}
	*target = r
}

// IsZero tells the YAML encoder that the key is absent.
func (r reference) IsZero() bool { return r.path == "" }

// MarshalYAML shows a plain value as it stands in the file, the name of its
// variable for one from the environment, and *** for a secret.
func (r reference) MarshalYAML() (any, error) {
	switch {
	case !r.plain:
		return redacted, nil
	case r.file != "":
		return map[string]string{"file": r.file}, nil
	case r.word.variable != "":
		return "${" + r.word.variable + "}", nil
	}
	return r.word.text, nil
}

// literal reports whether the file itself holds the value or a fallback for
// it.
func (r reference) literal() bool {
	return r.file == "" && (r.word.variable == "" || r.word.fallback != "")
}

// refuse makes a problem at the place of the reference.
func (c *Config) refuse(r reference, text string) Problem {
	return Problem{File: c.name, Line: r.line, Text: r.path + ": " + text}
}

// resolve reads the value. It may be empty only where the file says so, with
// ${NAME:-}.
func (c *Config) resolve(r reference) (string, *Problem) {
	value, wrong := c.read(r)
	if wrong == "" && value == "" && !r.word.hasFallback {
		wrong = "is empty; write a value"
	}
	if wrong == "" && unsendable(value) {
		wrong = "begins or ends with white space or holds a control character; remove it"
	}
	if wrong != "" {
		p := c.refuse(r, wrong)
		return "", &p
	}
	return value, nil
}

func (c *Config) read(r reference) (value, wrong string) {
	switch {
	case r.file != "":
		data, err := readBounded(c.beside(r.file))
		if err != nil {
			// Not the path: whoever confuses value and path puts a secret here.
			return "", "cannot read its file: " + reason(err) + "; write the path of a readable file"
		}
		value = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
		if value == "" {
			return "", "its file is empty; put the value into it"
		}
		return value, ""
	case r.word.variable == "":
		return r.word.text, ""
	}
	value, set := c.env(r.word.variable)
	switch {
	case value != "":
		return value, ""
	case r.word.hasFallback:
		return r.word.fallback, ""
	case set:
		return "", "the environment variable " + r.word.variable + " is empty; set it to the value"
	}
	return "", "the environment variable " + r.word.variable + " is not set; set it or write {file: path} instead"
}

// unsendable reports a value that cannot travel in a header as it stands. A
// newline at the end of a value is the usual slip when secrets are copied.
func unsendable(value string) bool {
	return value != strings.TrimSpace(value) || strings.ContainsFunc(value, unicode.IsControl)
}
