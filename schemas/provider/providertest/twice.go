package providertest

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

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

// oneReading holds a reader to it: a body whose keys come in two spellings is
// refused, or else read as if the second spelling were not there. It returns
// how many bodies were refused.
func oneReading[T any](t *testing.T, body string, want T, read func(body string) (T, error)) (refused int) {
	t.Helper()
	for what, body := range again(body) {
		got, err := read(body)
		switch {
		case err != nil:
			refused++
		case !reflect.DeepEqual(got, want):
			t.Errorf("%s is read as %+v, want %+v", what, got, want)
		}
	}
	return refused
}
