package providertest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// clean fails when text has anything in it that must not leave the bodies.
func (c *fixture) clean(t *testing.T, what, text string) {
	t.Helper()
	for _, canary := range append(c.personal(), planted) {
		if strings.Contains(text, canary) {
			t.Errorf("%s shows the personal text %q", what, canary)
		}
	}
	for name, secret := range c.secrets() {
		if strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
			t.Errorf("%s shows the secret %s", what, name)
		}
	}
	if secret := c.text("webhook.secret"); secret != "" && strings.Contains(text, secret) {
		t.Errorf("%s shows the webhook secret", what)
	}
}

// questionText writes a question with secrets shown as their names. A secret
// is replaced only where it may be: in a header, which may have a scheme before
// it, as a whole query value, or in the body of a login. Anywhere else it stays,
// and clean finds it.
func (c *fixture) questionText(q provider.Question) string {
	var b strings.Builder
	path, query, found := strings.Cut(q.URL, "?")
	if found {
		path += "?" + strings.TrimSuffix(c.hidden(query+"&", "=", "&"), "&")
	}
	fmt.Fprintf(&b, "%s %s\n", q.Method, path)
	for _, name := range slices.Sorted(maps.Keys(q.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, c.hidden(q.Header[name], "", ""))
	}
	if len(q.Body) > 0 {
		fmt.Fprintf(&b, "\n%s\n", c.hidden(string(q.Body), `"`, `"`))
	}
	return b.String()
}

// hidden is text with the names of secrets in their place, where before and after stand
// around them. Behind a = they are escaped as in a query.
func (c *fixture) hidden(text, before, after string) string {
	for setting, secret := range c.secrets() {
		if before == "=" {
			secret = url.QueryEscape(secret)
		}
		text = strings.ReplaceAll(text, before+secret+after, before+"{"+setting+"}"+after)
	}
	return text
}

func noticeJSON(t *testing.T, n provider.Notice) string {
	t.Helper()
	return indented(t, struct {
		Kind    order.Kind        `json:"kind"`
		Payment string            `json:"payment"`
		Order   string            `json:"order"`
		Unknown string            `json:"unknown,omitempty"`
		Fields  map[string]string `json:"fields,omitempty"`
	}(n))
}

func factJSON(t *testing.T, f order.Fact) string {
	t.Helper()
	return indented(t, struct {
		Kind              order.Kind    `json:"kind"`
		Order             string        `json:"order"`
		ProviderReference string        `json:"provider_reference,omitempty"`
		Status            order.Status  `json:"status"`
		ProviderStatus    string        `json:"provider_status"`
		Reason            string        `json:"reason,omitempty"`
		Amount            *order.Amount `json:"amount"`
		OccurredAt        *time.Time    `json:"occurred_at"`
	}(f))
}

func indented(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw) + "\n"
}
