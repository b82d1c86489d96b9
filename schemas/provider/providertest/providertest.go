// Package providertest asks every provider the same questions. A provider
// brings fixtures, one readable txtar file per case, and Run proves that the
// provider does what they say, and that it stays safe when the world does not
// send what they say.
//
// The sections of a fixture, in order. What Run computes is rewritten by the
// -update flag; the rest is written by hand.
//
//	comment          what the case shows, and the source of the example
//	settings         name: value, one a line; else defaults and made-up values
//	personal         texts, one a line, that must not leave the bodies
//	webhook.query    as in the address, for providers that add parameters
//	webhook.headers  name: value, one a line; a signature is added by the sample
//	webhook.secret   the account's webhook secret, for providers that sign
//	webhook.id       the payment's id as query or body have it, when it is not the payment
//	webhook.body     without its last newline
//	notice.json      computed, or notice.error
//	login.question   computed, with login.status
//	login.status     of the reply to the login
//	login.body       of it
//	token            computed, or token.error
//	question         computed; absent when the account has no look-up
//	answer.status    of the reply to the look-up
//	answer.body      of it
//	fact.json        computed, from the answer or from the claim
//	error            computed; beside fact.json for an unknown word
package providertest

import (
	"errors"
	"flag"
	"io/fs"
	"net/url"
	"strings"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

var update = flag.Bool("update", false, "rewrite what the fixtures expect")

// Run asks p every question, with the fixtures at the top of fixtures. Use Dir
// for the folder, so that -update can write there.
func Run(t *testing.T, p provider.Provider, fixtures fs.FS) {
	t.Helper()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	all := load(t, p, fixtures)
	for _, c := range all {
		t.Run("fixture/"+c.name, func(t *testing.T) {
			t.Parallel()
			c.expect(t, fixtures)
		})
	}
	t.Run("signing", func(t *testing.T) { t.Parallel(); signing(t, p) })
	t.Run("vocabulary", func(t *testing.T) { t.Parallel(); vocabulary(t, p, all) })
	t.Run("unknown payments", func(t *testing.T) { t.Parallel(); unknownPayments(t, p, all) })
	t.Run("login", func(t *testing.T) { t.Parallel(); login(t, p, all) })
	for _, c := range all {
		if c.newWebhook {
			t.Run("read/"+c.name, func(t *testing.T) { t.Parallel(); c.reading(t) })
		}
		t.Run("answer/"+c.name, func(t *testing.T) { t.Parallel(); c.answering(t) })
	}
}

// vocabulary asks for one fixture per word whose status is the declared one.
func vocabulary(t *testing.T, p provider.Provider, all []*fixture) {
	type shown struct {
		kind order.Kind
		word string
	}
	seen := map[shown]bool{}
	for _, c := range all {
		if f, err := c.fact(); err == nil && p.Vocabulary[f.Kind][f.ProviderStatus] == f.Status {
			seen[shown{f.Kind, f.ProviderStatus}] = true
		}
	}
	for kind, words := range p.Vocabulary {
		for word, status := range words {
			if !seen[shown{kind, word}] {
				t.Errorf("no fixture shows %s %q as %s", kind, word, status)
			}
		}
	}
}

// outcome is what the provider makes of a fixture: the computed sections.
func (c *fixture) outcome(t *testing.T) map[string]string {
	t.Helper()
	sections := map[string]string{}
	if c.p.Verify != nil {
		w := c.webhook()
		if c.p.Signs() {
			c.p.Sample.Sign(&w, c.text("webhook.secret"))
		}
		if _, err := c.p.Verify(w, []string{"another-secret", c.text("webhook.secret")}); err != nil {
			t.Errorf("verify: %v", err)
		}
	}
	n, err := c.read(c.webhook())
	if err != nil {
		sections["notice.error"] = err.Error()
		return sections
	}
	all, _ := c.p.Read(c.webhook())
	for _, one := range all {
		sections["notice.json"] += noticeJSON(t, one)
	}
	if n.Unknown != "" {
		return sections
	}
	if c.has("login.status") {
		c.loginOutcome(t, sections)
	}
	if q, err := c.question(n); err == nil {
		sections["question"] = c.questionText(q)
	} else if !errors.Is(err, provider.ErrNoLookUp) {
		t.Errorf("ask: %v", err)
	}
	if c.has("answer.status") || sections["question"] == "" {
		f, err := c.fact()
		if err == nil || isUnknownWord(err) {
			sections["fact.json"] = factJSON(t, f)
		}
		if err != nil {
			sections["error"] = err.Error()
		}
	}
	return sections
}

// expect compares the outcome with the fixture, or writes it there.
func (c *fixture) expect(t *testing.T, fixtures fs.FS) {
	got := c.outcome(t)
	if *update {
		c.write(t, fixtures, got)
		return
	}
	for _, name := range computed {
		want, expected := c.files[name]
		if have, ok := got[name]; ok != expected || strings.TrimSpace(have) != strings.TrimSpace(want) {
			t.Errorf("%s is\n%s\nwant\n%s", name, have, want)
		}
	}
	for name, text := range got {
		c.clean(t, name, text)
	}
	bodies := c.text("webhook.body") + c.text("answer.body") + c.text("login.body")
	if isForm(c.text("webhook.body")) {
		// A canary is what a leak would show: the decoded text.
		plain, _ := url.QueryUnescape(bodies)
		bodies += plain
	}
	for _, canary := range c.personal() {
		if !strings.Contains(bodies, canary) {
			t.Errorf("personal text %q is in no body, so nothing is proved", canary)
		}
	}
	if f, err := c.fact(); err == nil {
		n, _ := c.read(c.webhook()) // There is no fact without a notice.
		if f.Kind != n.Kind {
			t.Errorf("fact is a %s, the notice a %s", f.Kind, n.Kind)
		}
		if authentication := n.Kind == order.Authentication; authentication != (c.p.KindOf(n.Payment) == order.Authentication) {
			t.Errorf("%q is a %s, by its id a %s; give the provider a Kind", n.Payment, n.Kind, c.p.KindOf(n.Payment))
		}
		announced(t, c.p.Name, n.Payment, f)
	}
}

// question asks as the fixture's account would.
func (c *fixture) question(n provider.Notice) (provider.Question, error) {
	if c.p.Ask == nil {
		return provider.Question{}, provider.ErrNoLookUp
	}
	return c.p.Ask(target(n), c.account())
}

// fact is what the runtime would come to: the answer's meaning, or the claim
// when the account has no look-up.
func (c *fixture) fact() (order.Fact, error) {
	n, err := c.read(c.webhook())
	if err != nil {
		return order.Fact{}, err
	}
	_, err = c.question(n)
	switch {
	case errors.Is(err, provider.ErrNoLookUp) && c.p.Payload != nil:
		return c.p.Payload(target(n))
	case err != nil:
		return order.Fact{}, err
	case !c.has("answer.status"):
		return order.Fact{}, provider.ErrNoLookUp
	}
	return c.p.Answer(target(n), c.account(), c.reply("answer"))
}

func target(n provider.Notice) provider.Target {
	return provider.Target{Kind: n.Kind, Payment: n.Payment, Order: n.Order, Fields: n.Fields}
}
