package providertest

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// bom is a byte order mark, and latin a name whose bytes are ISO-8859-1.
const (
	bom   = "\xef\xbb\xbf"
	latin = "Jo\xe3o"
)

// rewritten are a good body as senders also write it. Each means the same.
func rewritten(body string) map[string]string {
	if isForm(body) {
		return map[string]string{
			"a byte order mark": bom + body, "bad UTF-8": body + "&planted=" + latin, "escaped bad UTF-8": body + "&planted=Jo%E3o",
		}
	}
	body = strings.TrimSpace(body)
	return map[string]string{
		"a byte order mark":  bom + body,
		"bad UTF-8":          `{"planted":"` + latin + `",` + body[1:],
		"bad UTF-8 in a key": `{"` + latin + `":1,` + body[1:],
	}
}

// asSent holds a reader to it: whichever way senders write a body, it means want.
func asSent[T any](t *testing.T, body string, want T, read func(body string) (T, error)) {
	t.Helper()
	for what, body := range rewritten(body) {
		if got, err := read(body); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s makes it %+v, %v; want %+v", what, got, err, want)
		}
	}
}

// emptied holds a reader to it: PHP's [] in the place of an object means the same
// as an object without fields.
func emptied[T any](t *testing.T, body string, read func(body string) (T, error)) {
	t.Helper()
	if isForm(body) {
		return
	}
	objects, arrays := emptiedAt(t, body, map[string]any{}), emptiedAt(t, body, []any{})
	for i, object := range objects {
		want, problem := read(object)
		got, err := read(arrays[i])
		if !reflect.DeepEqual(got, want) || text(err) != text(problem) {
			t.Errorf("%.300s is %+v, %v; want %+v, %v", arrays[i], got, err, want, problem)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// emptiedAt gives the body once for each object inside it, with by in its place.
func emptiedAt(t *testing.T, body string, by any) []string {
	t.Helper()
	var all []string
	for place := 0; ; place++ {
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		var doc map[string]any
		if err := d.Decode(&doc); err != nil {
			t.Fatalf("body: %v", err)
		}
		left := place
		for _, key := range slices.Sorted(maps.Keys(doc)) {
			doc[key] = swapObject(doc[key], by, &left)
		}
		if left >= 0 {
			return all
		}
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(raw))
	}
}

// swapObject replaces the object number *left; *left is negative once it is done.
func swapObject(v, by any, left *int) any {
	switch v := v.(type) {
	case map[string]any:
		if *left--; *left == -1 {
			return by
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			v[key] = swapObject(v[key], by, left)
		}
	case []any:
		for i := range v {
			v[i] = swapObject(v[i], by, left)
		}
	}
	return v
}

// numbers are what an id may look like as a number, and whether its digits name it.
var numbers = map[string]bool{"102030": true, "102030.0": false, "1.0203e5": false, "102030E0": false, "-102030": false}

// number is the id of those numbers.
const number = "102030"

// numericIDs puts numbers where the fixture's webhook has its ids as text.
func (c *fixture) numericIDs(t *testing.T, n provider.Notice) {
	t.Helper()
	id, body := c.id(n), c.text("webhook.body")
	prefix := strings.TrimSuffix(n.Payment, id)
	for digits, fits := range numbers {
		got, err := c.read(c.with(strings.ReplaceAll(body, `"`+encodeFor(body, id)+`"`, digits)))
		if fits && (err != nil || got.Payment != prefix+number) || !fits && !errors.Is(err, provider.ErrInvalid) {
			t.Errorf("the id %s gives %+v, %v", digits, got, err)
		}
		quoted := `"` + encodeFor(body, n.Order) + `"`
		if n.Order == "" || n.Order == id || !strings.Contains(body, quoted) {
			continue
		}
		got, err = c.read(c.with(strings.ReplaceAll(body, quoted, digits)))
		if fits && (err != nil || got.Order != number || got.Payment != n.Payment) || !fits && !errors.Is(err, provider.ErrInvalid) {
			t.Errorf("the order %s gives %+v, %v", digits, got, err)
		}
	}
}

// numericAnswers puts numbers where the fixture's answer has its ids as text.
func (c *fixture) numericAnswers(t *testing.T, n provider.Notice, f order.Fact) {
	t.Helper()
	id, body := c.id(n), c.text("answer.body")
	for digits, fits := range numbers {
		to := target(n)
		to.Payment = strings.TrimSuffix(n.Payment, id) + number
		if quoted := `"` + id + `"`; strings.Contains(body, quoted) {
			r := provider.Reply{Status: http.StatusOK, Body: []byte(strings.ReplaceAll(body, quoted, digits))}
			got, err := c.p.Answer(to, c.account(), r)
			if fits && (err != nil || got.Status != f.Status) || !fits && !errors.Is(err, provider.ErrUnreadable) {
				t.Errorf("an answer about the payment %s gives %+v, %v", digits, got, err)
			}
		}
		if quoted := `"` + f.Order + `"`; f.Order != "" && f.Order != id && strings.Contains(body, quoted) {
			r := provider.Reply{Status: http.StatusOK, Body: []byte(strings.ReplaceAll(body, quoted, digits))}
			got, err := c.p.Answer(target(n), c.account(), r)
			if fits && (err != nil || got.Order != number) || !fits && !errors.Is(err, provider.ErrUnreadable) {
				t.Errorf("an answer about the order %s gives %+v, %v", digits, got, err)
			}
		}
	}
}

// recased are a word in the cases in which senders write it too.
func recased(word string) []string {
	lower := strings.ToLower(word)
	first, size := utf8.DecodeRuneInString(lower)
	return []string{lower, strings.ToUpper(word), string(unicode.ToUpper(first)) + lower[size:]}
}

// wordsInAnyCase writes the answer's word, or the claim's, in other cases.
func (c *fixture) wordsInAnyCase(t *testing.T, n provider.Notice, want order.Fact) {
	t.Helper()
	check := func(said string, got order.Fact, err error) {
		t.Helper()
		spelt := got.ProviderStatus
		if _, known := c.p.Vocabulary[got.Kind][spelt]; known && strings.EqualFold(spelt, want.ProviderStatus) {
			got.ProviderStatus = want.ProviderStatus
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q for %q is %+v, %v", said, want.ProviderStatus, got, err)
		}
	}
	for _, said := range recased(want.ProviderStatus) {
		if c.has("answer.status") {
			for _, body := range replaced(t, c.text("answer.body"), want.ProviderStatus, said) {
				got, err := c.p.Answer(target(n), c.account(), provider.Reply{Status: http.StatusOK, Body: body})
				check(said, got, err)
			}
			continue
		}
		for name, value := range n.Fields {
			if value == want.ProviderStatus {
				to := target(n)
				to.Fields = maps.Clone(n.Fields)
				to.Fields[name] = said
				got, err := c.p.Payload(to)
				check(said, got, err)
			}
		}
	}
}
