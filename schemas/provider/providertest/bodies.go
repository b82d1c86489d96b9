package providertest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

const (
	deep    = 100_000                      // Levels of the nested bodies.
	bom     = "\xef\xbb\xbf"               // A byte order mark.
	latin   = "Jo\xe3o"                    // A name in ISO-8859-1.
	planted = "planted.canary@example.com" // A personal text that the suite itself puts into bodies.
	number  = "102030"                     // The id of numbers.
)

// numbers are what an id may look like as a number, and whether its digits name it.
var numbers = map[string]bool{number: true, "102030.0": false, "1.0203e5": false, "102030E0": false, "-102030": false}

func isForm(body string) bool { return !strings.HasPrefix(strings.TrimSpace(body), "{") }

// literal writes text as the body would: in JSON quotes, or as the value of a form.
func literal(body, text string) string {
	if isForm(body) {
		return url.QueryEscape(text)
	}
	raw, _ := json.Marshal(text) // Text has JSON.
	return string(raw)
}

// plant adds a field that no provider has.
func plant(body string) string {
	if isForm(body) {
		return body + "&planted%5Bemail%5D=" + url.QueryEscape(planted)
	}
	return strings.Replace(body, "{", `{"planted":{"email":"`+planted+`"},`, 1)
}

// hopeless are bodies that are wrong for every provider.
func hopeless() map[string]string {
	return map[string]string{
		"an empty body": "", "a blank": " ", "null": "null", "an array": "[]", "an array of objects": "[{}]", "a number": "1",
		"a text": `"x"`, "an open object": "{", "an empty object": "{}", "html": "<html></html>",
		"deep nesting":      `{"a":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + "}",
		"deep objects":      strings.Repeat(`{"a":`, deep) + "1" + strings.Repeat("}", deep),
		"deep open nesting": strings.Repeat("[", deep),
		"a huge text":       `{"a":"` + strings.Repeat("x", 2<<20) + `"`,
		"many keys":         strings.Repeat("a&", deep),
		"something huge":    strings.Repeat("x", 2<<20),
		"only unknown keys": `{"planted":"` + planted + `"}`,
		"a trailing comma":  plant("{}"),
	}
}

// malformed spoils a good body in ways that no reader may overlook. id is the value of a
// form whose key may not come twice, "" for none.
func malformed(body, id string) map[string]string {
	bad := map[string]string{}
	if isForm(body) {
		bad["too many fields"] = strings.Repeat("a=b&", deep) + body
		for pair := range strings.SplitSeq(body, "&") {
			if key, value, _ := strings.Cut(pair, "="); id != "" && value == url.QueryEscape(id) {
				bad["another id behind it"] = body + "&" + key + "=" + planted
				break
			}
		}
		return bad
	}
	body = strings.TrimSpace(body)
	for cut := range body {
		// Long bodies repeat themselves; every seventh byte will do there.
		if cut < 300 || cut%7 == 0 {
			bad["a cut at byte "+strconv.Itoa(cut)] = body[:cut]
		}
	}
	maps.Copy(bad, map[string]string{
		"a key twice":         `{"k":1,"k":1,` + body[1:],
		"a deep key twice":    `{"k":[{"k":1,"k":1}],` + body[1:],
		"something behind it": body + "{}",
		"a letter behind it":  body + "x",
		"a planted cut":       plant(body)[:len(plant(body))-1],
	})
	return bad
}

// rewritten are a good body as senders also write it. Each means the same.
func rewritten(body string) map[string]string {
	if isForm(body) {
		return map[string]string{
			"an additional field": plant(body), "a byte order mark": bom + body,
			"bad UTF-8": body + "&planted=" + latin, "escaped bad UTF-8": body + "&planted=Jo%E3o",
		}
	}
	body = strings.TrimSpace(body)
	return map[string]string{
		"an additional field": plant(body),
		"a byte order mark":   bom + body,
		"bad UTF-8":           `{"planted":"` + latin + `",` + body[1:],
		"bad UTF-8 in a key":  `{"` + latin + `":1,` + body[1:],
	}
}

// edits gives a JSON body once for each value inside it that fits, with by in its place.
func edits(t *testing.T, body string, fits func(v any) bool, by any) []string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("body: %v", err)
	}
	var all []string
	var walk func(v any, set func(any))
	walk = func(v any, set func(any)) {
		if fits(v) && set != nil {
			set(by)
			raw, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(raw))
			set(v)
		}
		switch v := v.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				walk(v[key], func(other any) { v[key] = other })
			}
		case []any:
			for i := range v {
				walk(v[i], func(other any) { v[i] = other })
			}
		}
	}
	walk(doc, nil)
	return all
}

// replaced gives a JSON body once for every text or number that reads as word, with by in its place.
func replaced(t *testing.T, body, word string, by any) []string {
	t.Helper()
	return edits(t, body, func(v any) bool { return v == any(word) || v == any(json.Number(word)) }, by)
}

func isObject(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// recased are a word in the cases in which senders write it too.
func recased(word string) []string {
	lower := strings.ToLower(word)
	first, size := utf8.DecodeRuneInString(lower)
	return []string{lower, strings.ToUpper(word), string(unicode.ToUpper(first)) + lower[size:]}
}

// key is a key of a JSON object with its quotes.
var key = regexp.MustCompile(`"[A-Za-z0-9_-]+"\s*:`)

// again are bodies in which one key has a second spelling, with a value of its
// own, before it or at the end of its object. A reader who minds letter case
// takes one value of such a body, and one who does not may take the other: the
// first or the last, whichever decoder he has.
func again(body string) map[string]string {
	bodies := map[string]string{}
	if isForm(body) {
		return bodies
	}
	for _, at := range key.FindAllStringIndex(body, -1) {
		name := body[at[0]:at[1]]
		for what, other := range map[string]string{
			"another case":     strings.Map(swapped, name),
			"another alphabet": strings.NewReplacer("s", "\u017f", "k", "\u212a").Replace(name),
		} {
			if other != name {
				pair, end := other+`"`+planted+`"`, at[0]+closing(body[at[0]:])
				bodies[fmt.Sprintf("key %d, %s in %s before it", at[0], name, what)] = body[:at[0]] + pair + "," + body[at[0]:]
				bodies[fmt.Sprintf("key %d, %s in %s behind it", at[0], name, what)] = body[:end] + "," + pair + body[end:]
			}
		}
	}
	return bodies
}

// closing is where the object ends in which text begins.
func closing(text string) int {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
		case (c == '}' || c == ']') && depth == 0:
			return i
		case c == '}', c == ']':
			depth--
		}
	}
	return len(text)
}

func swapped(r rune) rune {
	if unicode.IsUpper(r) {
		return unicode.ToLower(r)
	}
	return unicode.ToUpper(r)
}
