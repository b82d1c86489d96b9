package providertest

import (
	"errors"
	"io/fs"
	"net/http"
	"reflect"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/subject"
)

// FuzzRead looks for webhooks that Read cannot take, starting from the
// fixtures: a panic, a notice that cannot be used, an error without a class.
func FuzzRead(f *testing.F, p provider.Provider, fixtures fs.FS) {
	f.Helper()
	for _, c := range load(f, p, fixtures) {
		f.Add(c.text("webhook.query"), c.text("webhook.headers"), []byte(c.text("webhook.body")))
	}
	f.Fuzz(func(t *testing.T, query, header string, body []byte) {
		w := provider.Webhook{Query: p.Parameters(query), Header: headers(header), Body: body, At: arrival}
		all, err := p.Read(w)
		if again, _ := p.Read(w); !reflect.DeepEqual(all, again) {
			t.Errorf("reading again gives %+v after %+v", again, all)
		}
		switch {
		case errors.Is(err, provider.ErrInvalid):
		case err != nil:
			t.Errorf("read gives %v, want ErrInvalid", err)
		case len(all) == 0:
			t.Error("read gives neither a notice nor an error")
		}
		for _, n := range all {
			usable(t, p, n)
		}
	})
}

// usable fails for a notice that cannot be stored, or whose payload makes no event.
func usable(t *testing.T, p provider.Provider, n provider.Notice) {
	t.Helper()
	switch {
	case subject.CheckID(n.Payment) != nil || n.Order == "." || n.Order == "..":
		t.Errorf("payment %q or order %q cannot be used", n.Payment, n.Order)
	case p.Vocabulary[n.Kind] == nil:
		t.Errorf("kind %q is not in the vocabulary", n.Kind)
	case n.Unknown == "" && p.Payload != nil:
		fact, err := p.Payload(target(n))
		if sound(t, fact, err) {
			announced(t, p.Name, n.Payment, fact)
		}
	}
}

// FuzzVerify looks for webhooks that Verify cannot take or lets in: it knows no secret of
// theirs.
func FuzzVerify(f *testing.F, p provider.Provider, fixtures fs.FS) {
	f.Helper()
	for _, c := range load(f, p, fixtures) {
		f.Add(c.text("webhook.query"), c.text("webhook.headers"), []byte(c.text("webhook.body")))
	}
	f.Fuzz(func(t *testing.T, query, header string, body []byte) {
		w := provider.Webhook{Query: p.Parameters(query), Header: headers(header), Body: body, At: arrival}
		_, err := p.Verify(w, []string{"a secret that no fuzzer finds", ""})
		if !errors.Is(err, provider.ErrNoCredential) && !errors.Is(err, provider.ErrBadCredential) {
			t.Errorf("verify gives %v", err)
		}
	})
}

// FuzzAnswer looks for answers that Answer cannot take, starting from the
// fixtures. Whatever it calls a fact must make an event that validates.
func FuzzAnswer(f *testing.F, p provider.Provider, fixtures fs.FS) {
	f.Helper()
	for _, c := range load(f, p, fixtures) {
		n, err := c.read(c.webhook())
		if err == nil && n.Unknown == "" && c.has("answer.status") {
			f.Add(string(n.Kind), n.Payment, n.Order, c.reply().Status, []byte(c.text("answer.body")))
		}
	}
	account := provider.Account{Name: "default", Settings: madeUp(p)}
	f.Fuzz(func(t *testing.T, kind, payment, number string, status int, body []byte) {
		if p.Vocabulary[order.Kind(kind)] == nil || subject.CheckID(payment) != nil {
			return
		}
		to := provider.Target{Kind: order.Kind(kind), Payment: payment, Order: number}
		fact, err := p.Answer(to, account, provider.Reply{Status: status, Body: body})
		if err == nil && status != http.StatusOK {
			t.Errorf("status %d is a fact", status)
		}
		if sound(t, fact, err) {
			announced(t, p.Name, payment, fact)
		}
	})
}

// sound reports whether there is a whole fact, and fails for an error without
// a class.
func sound(t *testing.T, fact order.Fact, err error) bool {
	t.Helper()
	if err == nil {
		return true
	}
	if isUnknownWord(err) {
		if fact.Status != "" || fact.ProviderStatus == "" {
			t.Errorf("an unknown word beside the fact %+v", fact)
		}
		return false
	}
	for _, class := range classes {
		if errors.Is(err, class) {
			return false
		}
	}
	t.Errorf("%v has no class", err)
	return false
}
