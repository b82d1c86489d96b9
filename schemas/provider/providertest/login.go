package providertest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
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
	token, err := c.p.Login.Answer(c.loginReply())
	if err != nil {
		sections["token.error"] = err.Error()
		return
	}
	sections["token"] = fmt.Sprintf("%s for %s\n", token.Value, token.Lifetime)
}

func (c *fixture) loginReply() provider.Reply {
	status, err := strconv.Atoi(strings.TrimSpace(c.text("login.status")))
	if err != nil {
		status = 0
	}
	return provider.Reply{Status: status, Body: []byte(c.text("login.body"))}
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
		token, err := p.Login.Answer(c.loginReply())
		if err != nil {
			c.classed(t, "a login", err)
			continue
		}
		good := c.loginReply()
		read := func(body string) (provider.Token, error) {
			return p.Login.Answer(provider.Reply{Status: good.Status, Body: []byte(body)})
		}
		asSent(t, string(good.Body), token, read)
		oneReading(t, string(good.Body), token, read)
		asked++
		c.badTokens(t)
	}
	if asked == 0 {
		t.Error("no fixture shows a login that gives a token")
	}
}

func (c *fixture) badTokens(t *testing.T) {
	t.Helper()
	good := c.loginReply()
	for status := 100; status < 600; status++ {
		_, err := c.p.Login.Answer(provider.Reply{Status: status, Body: good.Body})
		if (err == nil) != (status == http.StatusOK) {
			t.Errorf("status %d gives %v", status, err)
		}
		if err != nil {
			c.classed(t, "a status", err)
		}
		if errors.Is(err, provider.ErrNotFound) {
			t.Errorf("status %d of a login means an unknown payment", status)
		}
	}
	bad := c.malformed(string(good.Body))
	maps.Copy(bad, hopeless())
	for what, body := range bad {
		token, err := c.p.Login.Answer(provider.Reply{Status: http.StatusOK, Body: []byte(body)})
		if err == nil {
			t.Errorf("%s is the token %+v", what, token)
			continue
		}
		c.classed(t, what, err)
	}
}
