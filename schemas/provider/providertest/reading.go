package providertest

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"arauto/schemas/provider"
	"arauto/schemas/subject"
)

func isInvalid(err error) bool { return errors.Is(err, provider.ErrInvalid) }

// reading asks what Read does with what is not a good webhook.
func (c *fixture) reading(t *testing.T) {
	n, err := c.read(c.webhook())
	body, inQuery, id := c.text("webhook.body"), err == nil && c.inQuery(c.id(n)), ""
	if err == nil && n.Unknown == "" {
		id = n.Payment
	}
	bad := malformed(body, id)
	if c.newHeaders {
		maps.Copy(bad, hopeless())
	}
	if n.Unknown != "" || inQuery {
		// A type that only the header names needs nothing in the body, nor does an id that the query has.
		delete(bad, "an empty object")
		delete(bad, "only unknown keys")
	}
	r := reader[provider.Notice]{c, body, n, func(body []byte) (provider.Notice, error) {
		w := c.webhook()
		w.Body = body
		return c.read(w)
	}, isInvalid}
	if err != nil {
		r.refuses(t, bad)
		if !isInvalid(err) {
			t.Errorf("read gives %v, want ErrInvalid", err)
		}
		return
	}
	refused := r.ask(t, bad)
	if n.Unknown == "" {
		c.ids(t, n)
		if refused == 0 && !isForm(body) && !inQuery {
			t.Error("not even the id's key is refused in two spellings")
		}
	}
}

// ids puts other ids where the fixture's webhook has the payment's.
func (c *fixture) ids(t *testing.T, n provider.Notice) {
	t.Helper()
	id, body := c.id(n), c.text("webhook.body")
	if !c.inQuery(id) && !strings.Contains(body, literal(body, id)) {
		t.Fatalf("neither query nor body have the id %q; say which one they have in webhook.id", id)
	}
	for _, other := range []string{"", ".", "..", strings.Repeat("x", subject.MaxID+1), strings.Repeat("x", 32<<10)} {
		if n, err := c.read(c.replaceID(id, other)); !isInvalid(err) {
			t.Errorf("the id %.40q gives %.60q, %v", other, n.Payment, err)
		}
	}
	prefix := strings.TrimSuffix(n.Payment, id)
	for _, other := range []string{
		"...", "a.b", " a b ", "*", ">", "a.>", "a\nb", "\r\n", "a/b", "../../x", "a%2Fb", "?a=b&c=d#e", "{order}", "\x00",
		"pedido n\u00ba 1 \u2014 caf\u00e9 \u65e5\u672c \U0001F600", strings.Repeat("x", subject.MaxID-len(prefix)), strings.Repeat("x", 36), "A-0z",
	} {
		got, err := c.read(c.replaceID(id, other))
		if formed(other) && err != nil || err == nil && got.Payment != prefix+other || err != nil && !isInvalid(err) {
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
	c.numericIDs(t, n, prefix)
	for _, wrong := range []string{"true", "null", "{}", "[]", `["` + planted + `"]`, `{"a":"` + planted + `"}`, `"` + latin + `"`} {
		if n, err := c.read(c.with(strings.ReplaceAll(body, literal(body, id), wrong))); !isInvalid(err) {
			t.Errorf("the id %s gives %+v, %v", wrong, n, err)
		} else {
			c.clean(t, "a wrong-typed id", err.Error())
		}
	}
}

// numericIDs puts numbers where the fixture's webhook has its ids as text.
func (c *fixture) numericIDs(t *testing.T, n provider.Notice, prefix string) {
	t.Helper()
	id, body := c.id(n), c.text("webhook.body")
	numeric(t, body, id, prefix+number, provider.ErrInvalid, func(body string) (string, error) {
		got, err := c.read(c.with(body))
		return got.Payment, err
	})
	if n.Order != "" && n.Order != id && strings.Contains(body, literal(body, n.Order)) {
		numeric(t, body, n.Order, n.Payment+" of "+number, provider.ErrInvalid, func(body string) (string, error) {
			got, err := c.read(c.with(body))
			return got.Payment + " of " + got.Order, err
		})
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
	if !slices.Contains(segments, id) {
		t.Errorf("the id %.40q cannot be read back from %.200q", id, q.URL)
	}
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
	if c.inQuery(id) {
		return c.sent(strings.ReplaceAll(query, "="+url.QueryEscape(id), "="+url.QueryEscape(other)), body)
	}
	return c.with(strings.ReplaceAll(body, literal(body, id), literal(body, other)))
}
