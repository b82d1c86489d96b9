package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// decode fills the file's structs from YAML nodes. It walks the nodes itself
// because the library's own decoding stops at the first key that it does not
// know and cannot say where a value of the file came from. within is the range
// of the value, from the tag of its field, "" for any value.
func (k *checks) decode(v reflect.Value, node *yaml.Node, path, within string) {
	switch { // Both make a file mean something else than it seems to say.
	case node.Kind == yaml.AliasNode:
		k.refuseAt(node.Line, path, "an alias is not allowed; write the value out")
		return
	case node.Style&yaml.TaggedStyle != 0:
		k.refuseAt(node.Line, path, "a tag is not allowed; write the value alone")
		return
	}
	switch target := v.Addr().Interface().(type) {
	case *reference:
		k.reference(target, node, path)
	case *time.Duration:
		scalar(k, node, path, target, duration, within)
	case *Size:
		scalar(k, node, path, target, size, within)
	case *int:
		scalar(k, node, path, target, whole, within)
	case *string:
		if given, origin, ok := k.given(node, path); ok {
			*target, k.origins[path] = given, origin
		}
	default:
		k.collection(v, node, path)
	}
}

// collection decodes a mapping or a list.
func (k *checks) collection(v reflect.Value, node *yaml.Node, path string) {
	switch v.Kind() {
	case reflect.Struct:
		k.structure(v, node, path)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		k.entries(node, path, func(key, value *yaml.Node, at string) {
			entry := reflect.New(v.Type().Elem()).Elem()
			k.decode(entry, value, at, "")
			v.SetMapIndex(reflect.ValueOf(key.Value), entry)
		})
	case reflect.Slice:
		k.list(v, node, path)
	default: // Only a new field in file.go can get here, and the golden test would.
		k.refuseAt(node.Line, path, fmt.Sprintf("has the Go type %s, which this decoder does not know; teach it", v.Type()))
	}
}

// empty reports a key whose value is left out; for lists and mappings that is
// the same as leaving out the key, so that all of a section can be commented
// out.
func empty(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

func (k *checks) structure(v reflect.Value, node *yaml.Node, path string) {
	fields, known := map[string]int{}, []string{}
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if key != "" && key != "-" {
			fields[key], known = i, append(known, key)
		}
	}
	k.entries(node, path, func(key, value *yaml.Node, at string) {
		if i, ok := fields[key.Value]; ok {
			k.decode(v.Field(i), value, at, v.Type().Field(i).Tag.Get("within"))
			return
		}
		k.refuseAt(key.Line, path, "there is no key "+shown(key.Value)+"; "+instead(key.Value, known))
	})
}

// entries visits each key of a mapping once and remembers where it stands.
func (k *checks) entries(node *yaml.Node, path string, visit func(key, value *yaml.Node, at string)) {
	if empty(node) {
		return
	}
	if node.Kind != yaml.MappingNode {
		k.refuseAt(node.Line, path, "must be a mapping, not "+kind(node)+"; write key: value lines")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		first, twice := seen[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0:
			k.refuseAt(key.Line, path, "a key must be a plain word, not "+kind(key)+"; write key: value lines")
		case twice:
			k.refuseAt(key.Line, path, fmt.Sprintf("the key %s stands here again, after line %d; keep one of them", shown(key.Value), first))
		default:
			seen[key.Value] = key.Line
			at := strings.TrimPrefix(path+"."+key.Value, ".")
			k.lines[at] = key.Line
			visit(key, value, at)
		}
	}
}

func (k *checks) list(v reflect.Value, node *yaml.Node, path string) {
	if empty(node) {
		return
	}
	if node.Kind != yaml.SequenceNode {
		k.refuseAt(node.Line, path, "must be a list, not "+kind(node)+"; write [a, b] or one - item per line")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content)))
	for i, item := range node.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		k.lines[at] = item.Line
		k.decode(v.Index(i), item, at, "")
	}
}

// scalar parses one value into target.
func scalar[T int | Size | time.Duration](k *checks, node *yaml.Node, path string, target *T, parse func(string) (T, string), within string) {
	given, origin, ok := k.given(node, path)
	if !ok {
		return
	}
	parsed, wrong := parse(given)
	if wrong != "" {
		k.refuseAt(node.Line, path, origin+" "+wrong)
		return
	}
	*target = parsed
	if low, high, bounded := strings.Cut(within, " "); bounded && !(parsed == 0 && unlimited(path)) {
		lowest, _ := parse(low)
		highest, _ := parse(high)
		k.wrong(path, between(parsed, lowest, highest))
	}
}

// unlimited reports whether 0 lifts the limit at path. In the limit of a provider or
// of an account 0 would leave the gateway's as it is, so it is refused there.
func unlimited(path string) bool {
	return strings.HasPrefix(path, "gateway.limit.") || strings.HasPrefix(path, "gateway.authentication_failures.")
}

// given returns the text of one value, from the file or from the environment. origin
// shows it in a message, where a value from the environment is never shown.
func (k *checks) given(node *yaml.Node, path string) (value, origin string, ok bool) {
	w, ok := k.word(node, path)
	if !ok || w.variable == "" {
		return w.text, shown(w.text), ok
	}
	value, set := k.expand(w)
	if !set {
		k.refuseAt(node.Line, path, fmt.Sprintf("the environment variable %s is not set; set it or write ${%[1]s:-default}", w.variable))
	}
	return value, "the value of " + w.variable, set
}

// word takes apart what must be one value.
func (k *checks) word(node *yaml.Node, path string) (word, bool) {
	w, wrong := split(node.Value)
	switch {
	case empty(node):
		wrong = "has no value; write one or remove the key"
	case node.Kind != yaml.ScalarNode:
		wrong = "must be one value, not " + kind(node) + "; write it on the line of its key"
	}
	if wrong != "" {
		k.refuseAt(node.Line, path, wrong)
	}
	return w, wrong == ""
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
