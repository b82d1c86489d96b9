package providertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"arauto/schemas/provider"
	"arauto/schemas/subject"
)

// deep is how many levels the nested bodies have.
const deep = 100_000

// reading asks what Read does with what is not a good webhook.
func (c *fixture) reading(t *testing.T) {
	bad := c.malformed(c.text("webhook.body"))
	if c.newHeaders {
		maps.Copy(bad, hopeless())
	}
	if n, err := c.read(c.webhook()); err == nil && (n.Unknown != "" || c.inQuery(c.id(n))) {
		// A type that only the header names needs nothing in the body, nor does an id that the query has.
		delete(bad, "an empty object")
		delete(bad, "only unknown keys")
	}
	for what, body := range bad {
		n, err := c.read(c.with(body))
		if err == nil {
			t.Errorf("%s is read as %+v", what, n)
			continue
		}
		if !errors.Is(err, provider.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", what, err)
		}
		c.clean(t, what, err.Error())
	}
	n, err := c.read(c.webhook())
	if err != nil {
		if !errors.Is(err, provider.ErrInvalid) {
			t.Errorf("read gives %v, want ErrInvalid", err)
		}
		return
	}
	c.keepsNothing(t, n)
	if again, _ := c.read(c.with(plant(c.text("webhook.body")))); !reflect.DeepEqual(n, again) {
		t.Errorf("an additional field changes the notice to %+v", again)
	}
	body := c.text("webhook.body")
	read := func(body string) (provider.Notice, error) { return c.read(c.with(body)) }
	asSent(t, body, n, read)
	emptied(t, body, read)
	refused := oneReading(t, body, n, read)
	if n.Unknown == "" {
		c.ids(t, n)
		if refused == 0 && !isForm(body) && !c.inQuery(c.id(n)) {
			t.Error("not even the id's key is refused in two spellings")
		}
	}
}

// keepsNothing proves that Read neither changes its input nor keeps it, and
// that it gives the same result again.
func (c *fixture) keepsNothing(t *testing.T, want provider.Notice) {
	t.Helper()
	w := c.webhook()
	before := bytes.Clone(w.Body)
	n, err := c.read(w)
	if err != nil || !reflect.DeepEqual(n, want) {
		t.Errorf("reading again gives %+v, %v", n, err)
	}
	if !bytes.Equal(before, w.Body) {
		t.Error("read changed its input")
	}
	for i := range w.Body {
		w.Body[i] = '#'
	}
	if !reflect.DeepEqual(n, want) {
		t.Errorf("read kept its input: %+v", n)
	}
}

// ids puts other ids where the fixture's body has the payment's.
func (c *fixture) ids(t *testing.T, n provider.Notice) {
	t.Helper()
	id := c.id(n)
	body := c.text("webhook.body")
	if !c.inQuery(id) && !strings.Contains(body, encodeFor(body, id)) {
		t.Fatalf("neither query nor body have the id %q; say which one they have in webhook.id", id)
	}
	for _, other := range []string{"", ".", "..", strings.Repeat("x", subject.MaxID+1), strings.Repeat("x", 32<<10)} {
		if n, err := c.read(c.replaceID(id, other)); !errors.Is(err, provider.ErrInvalid) {
			t.Errorf("the id %.40q gives %.60q, %v", other, n.Payment, err)
		}
	}
	prefix := strings.TrimSuffix(n.Payment, id)
	for _, other := range []string{
		"...", "a.b", " a b ", "*", ">", "a.>", "a\nb", "\r\n", "a/b", "../../x", "a%2Fb", "?a=b&c=d#e", "{order}", "\x00",
		"pedido n\u00ba 1 \u2014 caf\u00e9 \u65e5\u672c \U0001F600", strings.Repeat("x", subject.MaxID-len(prefix)), strings.Repeat("x", 36), "A-0z",
	} {
		got, err := c.read(c.replaceID(id, other))
		if formed(other) && err != nil || err == nil && got.Payment != prefix+other || err != nil && !errors.Is(err, provider.ErrInvalid) {
			t.Errorf("the id %.40q gives %.60q, %v", other, got.Payment, err)
			continue
		}
		odd := n
		odd.Payment = prefix + other
		c.escapes(t, n, odd, other)
	}
	if isForm(body) || c.inQuery(id) {
		return
	}
	c.numericIDs(t, n)
	quoted := encodeFor(body, id)
	for _, wrong := range []string{"true", "null", "{}", "[]", `["` + planted + `"]`, `{"a":"` + planted + `"}`, `"` + latin + `"`} {
		broken := strings.ReplaceAll(body, `"`+quoted+`"`, wrong)
		if n, err := c.read(c.with(broken)); !errors.Is(err, provider.ErrInvalid) {
			t.Errorf("the id %s gives %+v, %v", wrong, n, err)
		} else {
			c.clean(t, "a wrong-typed id", err.Error())
		}
	}
}

// formed reports whether an id has the form of every provider that documents
// one. Other ids may be refused, but must not be read as something else.
func formed(id string) bool {
	return len(id) <= 36 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// escapes proves that an id stays in its place in the question's URL.
func (c *fixture) escapes(t *testing.T, usual, odd provider.Notice, id string) {
	t.Helper()
	q, err := c.question(usual)
	if errors.Is(err, provider.ErrNoLookUp) {
		return
	}
	want, _ := url.Parse(q.URL)
	q, err = c.question(odd)
	if err != nil {
		t.Errorf("ask about %.40q: %v", id, err)
		return
	}
	got, err := url.Parse(q.URL)
	if err != nil {
		t.Errorf("the id %.40q gives no URL: %v", id, err)
		return
	}
	if got.Scheme != want.Scheme || got.Host != want.Host || got.Fragment != "" || got.User != nil ||
		strings.Count(got.EscapedPath(), "/") != strings.Count(want.EscapedPath(), "/") ||
		len(got.Query()) != len(want.Query()) ||
		strings.ContainsFunc(q.URL, func(r rune) bool { return r <= ' ' || r > '~' }) {
		t.Errorf("the id %.40q leaves its place: %.200q", id, q.URL)
	}
	segments := strings.Split(got.EscapedPath(), "/")
	for i := range segments {
		segments[i], _ = url.PathUnescape(segments[i])
	}
	for _, values := range got.Query() {
		segments = append(segments, values...)
	}
	for _, segment := range segments {
		if segment == id {
			return
		}
	}
	t.Errorf("the id %.40q cannot be read back from %.200q", id, q.URL)
}

func (c *fixture) id(n provider.Notice) string {
	if c.has("webhook.id") {
		return c.text("webhook.id")
	}
	return n.Payment
}

// inQuery reports whether the query names the payment. Then nothing in the body does.
func (c *fixture) inQuery(id string) bool {
	return strings.Contains(c.text("webhook.query"), "="+url.QueryEscape(id))
}

// replaceID is the webhook with another id, in its query if that has it, else in its body.
func (c *fixture) replaceID(id, other string) provider.Webhook {
	query, body := c.text("webhook.query"), c.text("webhook.body")
	switch {
	case c.inQuery(id):
		return c.sent(strings.ReplaceAll(query, "="+url.QueryEscape(id), "="+url.QueryEscape(other)), body)
	case isForm(body):
		return c.with(strings.ReplaceAll(body, encodeFor(body, id), encodeFor(body, other)))
	}
	return c.with(strings.ReplaceAll(body, `"`+encodeFor(body, id)+`"`, `"`+encodeFor(body, other)+`"`))
}

func isForm(body string) bool { return !strings.HasPrefix(strings.TrimSpace(body), "{") }

// encodeFor writes text as the body would: within JSON quotes, or in a form.
func encodeFor(body, text string) string {
	if isForm(body) {
		return url.QueryEscape(text)
	}
	raw, err := json.Marshal(text)
	if err != nil {
		return text
	}
	return string(raw[1 : len(raw)-1])
}

// plant adds a field that no provider has.
func plant(body string) string {
	if isForm(body) {
		return body + "&planted%5Bemail%5D=" + url.QueryEscape(planted)
	}
	return strings.Replace(body, "{", `{"planted":{"email":"`+planted+`"},`, 1)
}

// hopeless are bodies that are wrong for everybody.
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

// malformed spoils a good body in ways that nobody may overlook.
func (c *fixture) malformed(body string) map[string]string {
	if isForm(body) {
		return c.malformedForm(body)
	}
	body = strings.TrimSpace(body)
	bad := map[string]string{
		"a key twice":         `{"k":1,"k":1,` + body[1:],
		"a deep key twice":    `{"k":[{"k":1,"k":1}],` + body[1:],
		"something behind it": body + "{}",
		"a letter behind it":  body + "x",
		"a planted cut":       plant(body)[:len(plant(body))-1],
	}
	for cut := range body {
		// Long bodies repeat themselves; every seventh byte will do there.
		if cut < 300 || cut%7 == 0 {
			bad["a cut at byte "+strconv.Itoa(cut)] = body[:cut]
		}
	}
	return bad
}

// malformedForm repeats the key of the id with another value.
func (c *fixture) malformedForm(body string) map[string]string {
	bad := map[string]string{"too many fields": strings.Repeat("a=b&", deep) + body}
	n, err := c.read(c.webhook())
	if err != nil || n.Unknown != "" {
		return bad
	}
	for pair := range strings.SplitSeq(body, "&") {
		if key, value, _ := strings.Cut(pair, "="); value == url.QueryEscape(n.Payment) {
			bad["another id behind it"] = body + "&" + key + "=" + planted
			break
		}
	}
	return bad
}
