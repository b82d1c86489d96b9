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
var key = regexp.MustCompile(`"[A-Za-z_]+"\s*:`)

// again are bodies in which one key has a second spelling before it, with a
// value of its own. A reader who minds letter case takes one value of such a
// body, and one who does not may take the other.
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
				bodies[fmt.Sprintf("key %d, %s in %s", at[0], name, what)] = body[:at[0]] + other + `"` + planted + `",` + body[at[0]:]
			}
		}
	}
	return bodies
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
