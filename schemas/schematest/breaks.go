package schematest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Breaks returns how a JSON Schema differs from its published version to the harm of readers,
// or of a validator of stored documents: a field that is removed, no longer required, of
// another form, or newly required, an enum where any word was allowed, and a word that an enum
// no longer has. New optional fields
// and new words are allowed. Each line names the field.
func Breaks(published, current []byte) ([]string, error) {
	var before, now map[string]any
	for text, into := range map[*[]byte]*map[string]any{&published: &before, &current: &now} {
		if err := json.Unmarshal(*text, into); err != nil {
			return nil, fmt.Errorf("read schema: %w", err)
		}
	}
	var c comparison
	c.compare("", before, now)
	slices.Sort(c.breaks)
	return c.breaks, nil
}

// comparison collects the lines of Breaks.
type comparison struct{ breaks []string }

func (c *comparison) add(field, format string, a ...any) {
	if field == "" {
		field = "the document"
	}
	c.breaks = append(c.breaks, field+": "+fmt.Sprintf(format, a...))
}

// compare compares the schemas of one field. Texts for people may differ.
func (c *comparison) compare(field string, before, now any) {
	was, ok := before.(map[string]any)
	is, same := now.(map[string]any)
	if !ok || !same {
		if !reflect.DeepEqual(before, now) {
			c.add(field, "%v became %v", before, now)
		}
		return
	}
	for _, keyword := range slices.Sorted(maps.Keys(union(was, is))) {
		if strings.HasPrefix(keyword, "x-") { // It says where documents are, and nothing of their form.
			continue
		}
		switch keyword {
		case "description", "title", "$comment", "examples":
		case "properties", "$defs":
			c.compareEach(field, keyword, object(was[keyword]), object(is[keyword]))
		case "required":
			c.compareRequired(field, words(was[keyword]), words(is[keyword]))
		case "enum":
			if was[keyword] == nil {
				c.add(field, "only the words %v are allowed now", is[keyword])
			}
			for _, word := range words(was[keyword]) {
				if !slices.Contains(words(is[keyword]), word) {
					c.add(field, "the word %s was removed", word)
				}
			}
		case "items", "additionalProperties", "propertyNames":
			c.compare(field+" "+keyword, was[keyword], is[keyword])
		default:
			c.compareForm(field, keyword, was[keyword], is[keyword])
		}
	}
}

// compareEach compares the named schemas of two objects.
func (c *comparison) compareEach(field, keyword string, was, is map[string]any) {
	for name, before := range was {
		path := join(field, name)
		if keyword == "$defs" {
			path = "$defs." + name
		}
		if now, there := is[name]; there {
			c.compare(path, before, now)
		} else {
			c.add(path, "was removed")
		}
	}
}

func (c *comparison) compareRequired(field string, was, is []string) {
	for _, name := range was {
		if !slices.Contains(is, name) {
			c.add(join(field, name), "is no longer required")
		}
	}
	for _, name := range is {
		if !slices.Contains(was, name) {
			c.add(join(field, name), "is newly required")
		}
	}
}

// compareForm compares what else a schema says: types, patterns, bounds and alternatives.
func (c *comparison) compareForm(field, keyword string, was, is any) {
	before, ok := was.([]any)
	now, same := is.([]any)
	if !ok || !same || len(before) != len(now) {
		if !reflect.DeepEqual(was, is) {
			c.add(field, "%s was %v and is %v", keyword, was, is)
		}
		return
	}
	for i := range before {
		c.compare(field, before[i], now[i])
	}
}

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

func union(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// object is v as an object, empty if it is none.
func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

// words are the texts of a list.
func words(v any) []string {
	list, _ := v.([]any)
	all := make([]string, len(list))
	for i, one := range list {
		all[i] = fmt.Sprint(one)
	}
	return all
}
