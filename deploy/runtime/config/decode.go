package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decoder fills the file's structs from YAML nodes. It is our own because the
// library's KnownFields stops at the first problem, knows no line numbers of
// our problems and does not reach into values that decode themselves.
type decoder struct {
	name     string
	env      func(string) (string, bool)
	lines    map[string]int    // Where each key that is present stands, by path; "" is the file.
	origins  map[string]string // The environment variable that a value came from, by path.
	problems Problems
}

// decode fills the struct that target points to; what node leaves out keeps
// its value.
func (d *decoder) decode(target any, node *yaml.Node) {
	d.value(reflect.ValueOf(target).Elem(), node, "")
}

func (d *decoder) refuse(node *yaml.Node, path, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if path != "" {
		text = path + ": " + text
	}
	d.problems = append(d.problems, Problem{File: d.name, Line: max(node.Line, 1), Text: text})
}

func (d *decoder) value(v reflect.Value, node *yaml.Node, path string) {
	if !d.plain(node, path) {
		return
	}
	switch target := v.Addr().Interface().(type) {
	case *reference:
		d.reference(target, node, path)
		return
	case *time.Duration:
		scalar(d, node, path, target, duration)
		return
	case *Size:
		scalar(d, node, path, target, size)
		return
	case *int:
		scalar(d, node, path, target, whole)
		return
	case *string:
		scalar(d, node, path, target, text)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(v, node, path)
	case reflect.Map:
		d.mapping(v, node, path)
	case reflect.Slice:
		d.list(v, node, path)
	default: // Only a new field in file.go can get here, and the golden test would.
		d.refuse(node, path, "has the Go type %s, which this decoder does not know; teach it", v.Type())
	}
}

// plain refuses what makes a file mean something else than it seems to say.
func (d *decoder) plain(node *yaml.Node, path string) bool {
	switch {
	case node.Kind == yaml.AliasNode:
		d.refuse(node, path, "an alias is not allowed; write the value out")
	case node.Style&yaml.TaggedStyle != 0:
		d.refuse(node, path, "a tag is not allowed; write the value alone")
	default:
		return true
	}
	return false
}

// empty reports a key whose value is left out; for lists and mappings that is
// the same as leaving out the key, so that all of a section can be commented
// out.
func empty(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

func (d *decoder) structure(v reflect.Value, node *yaml.Node, path string) {
	fields, known := map[string]reflect.Value{}, []string{}
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if key != "" && key != "-" {
			fields[key], known = v.Field(i), append(known, key)
		}
	}
	d.entries(node, path, func(key, value *yaml.Node, at string) {
		if field, ok := fields[key.Value]; ok {
			d.value(field, value, at)
			return
		}
		d.refuse(key, path, "there is no key %s; %s", shown(key.Value), instead(key.Value, known))
	})
}

func (d *decoder) mapping(v reflect.Value, node *yaml.Node, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	d.entries(node, path, func(key, value *yaml.Node, at string) {
		entry := reflect.New(v.Type().Elem()).Elem()
		d.value(entry, value, at)
		v.SetMapIndex(reflect.ValueOf(key.Value), entry)
	})
}

// entries visits each key of a mapping once and remembers where it stands.
func (d *decoder) entries(node *yaml.Node, path string, visit func(key, value *yaml.Node, at string)) {
	if empty(node) {
		return
	}
	if node.Kind != yaml.MappingNode {
		d.refuse(node, path, "must be a mapping, not %s; write key: value lines", kind(node))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0 {
			d.refuse(key, path, "a key must be a plain word, not %s; write key: value lines", kind(key))
			continue
		}
		if first, twice := seen[key.Value]; twice {
			d.refuse(key, path, "the key %s stands here again, after line %d; keep one of them", shown(key.Value), first)
			continue
		}
		seen[key.Value] = key.Line
		at := join(path, key.Value)
		d.lines[at] = key.Line
		visit(key, value, at)
	}
}

func (d *decoder) list(v reflect.Value, node *yaml.Node, path string) {
	if empty(node) {
		return
	}
	if node.Kind != yaml.SequenceNode {
		d.refuse(node, path, "must be a list, not %s; write [a, b] or one - item per line", kind(node))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content)))
	for i, item := range node.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.lines[at] = item.Line
		d.value(v.Index(i), item, at)
	}
}

// scalar parses one value into target. The problem shows a value that stands
// in the file, never one from the environment.
func scalar[T any](d *decoder, node *yaml.Node, path string, target *T, parse func(string) (T, string)) {
	if !d.single(node, path) {
		return
	}
	word, advice := split(node.Value)
	if advice != "" {
		d.refuse(node, path, "%s", advice)
		return
	}
	given, origin := word.text, shown(word.text)
	if word.variable != "" {
		origin = "the value of " + word.variable
		d.origins[path] = word.variable
		var set bool
		given, set = d.env(word.variable)
		switch {
		case !set && !word.hasFallback:
			d.refuse(node, path, "the environment variable %s is not set; set it or write ${%s:-default}", word.variable, word.variable)
			return
		case given == "" && word.hasFallback:
			given = word.fallback
		}
	}
	parsed, wrong := parse(given)
	if wrong != "" {
		d.refuse(node, path, "%s %s", origin, wrong)
		return
	}
	*target = parsed
}

// single refuses what is not one value.
func (d *decoder) single(node *yaml.Node, path string) bool {
	switch {
	case empty(node):
		d.refuse(node, path, "has no value; write one or remove the key")
	case node.Kind != yaml.ScalarNode:
		d.refuse(node, path, "must be one value, not %s; write it on the line of its key", kind(node))
	default:
		return true
	}
	return false
}

func kind(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	return "a single value"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
