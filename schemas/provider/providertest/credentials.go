package providertest

import (
	"errors"
	"strings"
	"testing"

	"arauto/schemas/provider"
)

// credentials asks whether Verify lets in who it must, and nobody else.
func credentials(t *testing.T, p provider.Provider, all []*fixture) {
	if p.Verify == nil {
		if len(p.Unsigned) < 20 {
			t.Errorf("the reason for being unsigned says too little: %q", p.Unsigned)
		}
		return
	}
	asked := 0
	for _, c := range all {
		secret := c.text("webhook.secret")
		for name, values := range c.webhook().Header.(provider.HeaderMap) {
			if secret != "" && strings.Contains(values[0], secret) {
				asked++
				c.credential(t, name, values[0], secret)
			}
		}
	}
	if asked == 0 && !p.Signs() {
		t.Error("no fixture has a webhook.secret that is in a header")
	}
}

func (c *fixture) credential(t *testing.T, header, value, secret string) {
	t.Helper()
	check := func(what string, want error, secrets []string, values ...string) int {
		t.Helper()
		w := c.webhook()
		all := w.Header.(provider.HeaderMap)
		delete(all, header)
		if len(values) > 0 {
			all[header] = values
		}
		if !c.p.SignsBody {
			w.Body = nil // As the gateway calls it.
		}
		which, err := c.p.Verify(w, secrets)
		if !errors.Is(err, want) {
			t.Errorf("%s: %s gives %v, want %v", c.name, what, err, want)
		}
		if err != nil {
			c.clean(t, "verify's error", err.Error())
		}
		return which
	}
	both := []string{secret, "the-next-secret"}
	rotated := strings.Replace(value, secret, "the-next-secret", 1)
	if which := check("the first secret", nil, both, value); which != 0 {
		t.Errorf("%s: the first secret matches as number %d", c.name, which)
	}
	if which := check("the second secret", nil, both, rotated); which != 1 {
		t.Errorf("%s: the second secret matches as number %d", c.name, which)
	}
	check("the second secret alone", provider.ErrBadCredential, both[1:], value)
	check("a missing header", provider.ErrNoCredential, both)
	check("an empty header", provider.ErrNoCredential, both, "")
	check("the same header twice", nil, both, value, value)
	check("both secrets", provider.ErrBadCredential, both, value, rotated)
	check("a header with another one behind it", provider.ErrBadCredential, both, value, "x")
	check("no secret at all", provider.ErrBadCredential, nil, value)
	check("an empty secret", provider.ErrBadCredential, []string{"", ""}, value)
	check("a secret with something behind it", provider.ErrBadCredential, both, value+"0")
	check("a secret that is cut", provider.ErrBadCredential, both, value[:len(value)-1])
	if _, err := c.p.Verify(provider.Webhook{Header: provider.HeaderMap{header: {""}}}, []string{""}); err == nil {
		t.Errorf("%s: an empty header passes with an empty secret", c.name)
	}
	start := strings.Index(value, secret)
	for i := start; i < start+len(secret); i++ {
		flipped := []byte(value)
		flipped[i] ^= 1
		check("a flipped byte", provider.ErrBadCredential, both, string(flipped))
	}
}
