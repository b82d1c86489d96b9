package providertest

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"reflect"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/schematest"
	"arauto/schemas/subject"
)

// fuzzWebhooks asks about webhooks, starting from the fixtures.
func fuzzWebhooks(f *testing.F, p provider.Provider, fixtures fs.FS, ask func(t *testing.T, w provider.Webhook)) {
	f.Helper()
	for _, c := range load(f, p, fixtures) {
		f.Add(c.text("webhook.query"), c.text("webhook.headers"), []byte(c.text("webhook.body")))
	}
	f.Fuzz(func(t *testing.T, query, header string, body []byte) {
		ask(t, provider.Webhook{Query: p.Parameters(query), Header: headers(header), Body: body, At: arrival})
	})
}

// FuzzRead looks for webhooks that Read cannot take, starting from the
// fixtures: a panic, a notice that cannot be used, an error without a class.
func FuzzRead(f *testing.F, p provider.Provider, fixtures fs.FS) {
	f.Helper()
	fuzzWebhooks(f, p, fixtures, func(t *testing.T, w provider.Webhook) {
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
	case n.Kind == order.Authentication && p.KindOf(n.Payment) != n.Kind:
		t.Errorf("%q is a %s, by its id a %s", n.Payment, n.Kind, p.KindOf(n.Payment))
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
	fuzzWebhooks(f, p, fixtures, func(t *testing.T, w provider.Webhook) {
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
			f.Add(string(n.Kind), n.Payment, n.Order, c.reply("answer").Status, []byte(c.text("answer.body")))
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
	if isUnknownWord(err) && (fact.Status != "" || fact.ProviderStatus == "") {
		t.Errorf("an unknown word beside the fact %+v", fact)
	}
	if err != nil && !hasClass(err) {
		t.Errorf("%v has no class", err)
	}
	return err == nil
}

// announced folds f as a payment's first observation and validates the event
// as it would be published.
func announced(t *testing.T, name, payment string, f order.Fact) {
	t.Helper()
	if f.ProviderReference != provider.Code(f.ProviderReference) {
		t.Errorf("the provider's reference %q did not pass provider.Code", f.ProviderReference)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	o := order.Observation{
		Provider: name, Account: "default", Kind: f.Kind, Payment: payment, Order: f.Order,
		ProviderReference: f.ProviderReference, Status: f.Status, ProviderStatus: f.ProviderStatus,
		Reason: f.Reason, Amount: f.Amount, OccurredAt: f.OccurredAt, AnsweredAt: at,
	}
	after, outcome := order.Standing{}.Fold(o, at)
	if outcome != order.Applied {
		t.Fatalf("fact with status %q is %s as the first", f.Status, outcome)
	}
	if _, outcome := after.Fold(o, at.Add(time.Second)); outcome != order.Unchanged {
		t.Errorf("fact with status %q is %s when it is observed again, as after an exact replay of its webhook", f.Status, outcome)
	}
	raw, err := json.Marshal(order.Announce(nil, o, 1, after))
	if err != nil {
		t.Fatalf("write event: %v", err)
	}
	if err := schematest.Event(raw); err != nil {
		t.Errorf("event %s: %v", raw, err)
	}
}
