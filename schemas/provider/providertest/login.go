package providertest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"testing"

	"arauto/schemas/provider"
)

// loginOutcome computes the sections of a login.
func (c *fixture) loginOutcome(t *testing.T, sections map[string]string) {
	t.Helper()
	q, err := c.p.Login.Ask(c.account())
	if err != nil {
		t.Errorf("ask for a token: %v", err)
	}
	sections["login.question"] = c.questionText(q)
	token, err := c.p.Login.Answer(c.reply("login"))
	if err != nil {
		sections["token.error"] = err.Error()
		return
	}
	sections["token"] = fmt.Sprintf("%s for %s\n", token.Value, token.Lifetime)
}

// login asks what the login makes of replies that are not a token.
func login(t *testing.T, p provider.Provider, all []*fixture) {
	if p.Login == nil {
		return
	}
	asked := 0
	for _, c := range all {
		if !c.has("login.status") {
			continue
		}
		token, err := p.Login.Answer(c.reply("login"))
		if err != nil {
			c.classed(t, "a login", err)
			continue
		}
		asked++
		good := c.text("login.body")
		c.statuses(t, func(r provider.Reply) error {
			_, err := p.Login.Answer(r)
			if errors.Is(err, provider.ErrNotFound) {
				t.Errorf("status %d of a login means an unknown payment", r.Status)
			}
			return err
		}, good)
		bad := malformed(good, "")
		maps.Copy(bad, hopeless())
		reader[provider.Token]{c, good, token, func(body []byte) (provider.Token, error) {
			return p.Login.Answer(provider.Reply{Status: http.StatusOK, Body: body})
		}, hasClass}.ask(t, bad)
	}
	if asked == 0 {
		t.Error("no fixture shows a login that gives a token")
	}
}
