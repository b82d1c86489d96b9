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

// planted is a personal text that the suite itself puts into bodies.
const planted = "planted.canary@example.com"

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
	fmt.Fprintf(&b, "%s %s\n", q.Method, c.hideQuery(q.URL))
	for _, name := range slices.Sorted(maps.Keys(q.Header)) {
		value := q.Header[name]
		for setting, secret := range c.secrets() {
			value = strings.ReplaceAll(value, secret, "{"+setting+"}")
		}
		fmt.Fprintf(&b, "%s: %s\n", name, value)
	}
	if len(q.Body) > 0 {
		body := string(q.Body)
		for setting, secret := range c.secrets() {
			body = strings.ReplaceAll(body, `"`+secret+`"`, `"{`+setting+`}"`)
		}
		fmt.Fprintf(&b, "\n%s\n", body)
	}
	return b.String()
}

func (c *fixture) hideQuery(address string) string {
	path, query, found := strings.Cut(address, "?")
	if !found {
		return address
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		for setting, secret := range c.secrets() {
			if value == url.QueryEscape(secret) {
				pairs[i] = key + "={" + setting + "}"
			}
		}
	}
	return path + "?" + strings.Join(pairs, "&")
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
