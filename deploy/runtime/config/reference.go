package config

import (
	"reflect"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// reference is a value that is resolved only by the role that needs it: a
// secret, or an account's setting. The zero reference is an absent key.
type reference struct {
	path  string // Where it stands, for problems; "" for an absent key.
	word  word
	file  string // {file: path} instead of a word.
	plain bool   // Known to be no secret, so that Redacted may show it.
}

func (k *checks) reference(target *reference, node *yaml.Node, path string) {
	if node.Kind != yaml.MappingNode {
		if w, ok := k.word(node, path); ok {
			*target = reference{path: path, word: w}
		}
		return
	}
	var named struct {
		File string `yaml:"file"`
	}
	before := len(k.problems)
	k.structure(reflect.ValueOf(&named).Elem(), node, path)
	if named.File == "" && len(k.problems) == before {
		k.refuseAt(node.Line, path, "names no file; write {file: path}")
		return
	}
	*target = reference{path: path, file: named.File}
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

// resolve reads the value. It may be empty only where the file says so, with
// ${NAME:-}.
func (k *checks) resolve(r reference) (value string, ok bool) {
	value, wrong := k.read(r)
	if wrong == "" && value == "" && !r.word.hasFallback {
		wrong = "is empty; write a value"
	}
	// Such a value cannot travel in a header as it stands. A newline at its end is
	// the usual slip when secrets are copied.
	if wrong == "" && (value != strings.TrimSpace(value) || strings.ContainsFunc(value, unicode.IsControl)) {
		wrong = "begins or ends with white space or holds a control character; remove it"
	}
	k.wrong(r.path, wrong)
	return value, wrong == ""
}

func (c *Config) read(r reference) (value, wrong string) {
	switch {
	case r.file != "":
		data, err := c.content(c.beside(r.file))
		if err != nil {
			// The path is not shown: a secret may have been written in its place.
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
	value, set := c.expand(r.word)
	switch {
	case !set:
		return "", "the environment variable " + r.word.variable + " is not set; set it or write {file: path} instead"
	case value == "" && !r.word.hasFallback:
		return "", "the environment variable " + r.word.variable + " is empty; set it to the value"
	}
	return value, ""
}

// expand reads the environment variable of a word. An empty one has the fallback too.
func (c *Config) expand(w word) (value string, set bool) {
	if value, set = c.env(w.variable); value == "" && w.hasFallback {
		return w.fallback, true
	}
	return value, set
}
