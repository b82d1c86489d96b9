package providertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// classes are what an error of Answer may be, beside an unknown word.
var classes = []error{
	provider.ErrNotFound, provider.ErrCredential, provider.ErrThrottled,
	provider.ErrUnavailable, provider.ErrRefused, provider.ErrUnreadable,
}

// answering asks what Answer and Claim do with what is not a good answer.
func (c *fixture) answering(t *testing.T) {
	n, err := c.read(c.webhook())
	if err != nil || n.Unknown != "" {
		return
	}
	f, err := c.fact()
	if err != nil {
		if c.has("answer.status") {
			c.classed(t, "the fixture", err)
		}
		return
	}
	c.wordsInAnyCase(t, n, f)
	if !c.has("answer.status") {
		c.unknownClaim(t, n)
		return
	}
	c.numericAnswers(t, n, f)
	bad := c.malformed(c.text("answer.body"))
	if c.newAnswer {
		maps.Copy(bad, hopeless())
		c.statuses(t, n)
	}
	for what, body := range bad {
		got, err := c.p.Answer(target(n), c.account(), provider.Reply{Status: http.StatusOK, Body: []byte(body)})
		if err == nil {
			t.Errorf("%s is the answer %+v", what, got)
			continue
		}
		c.classed(t, what, err)
	}
	c.answersAgain(t, n, f)
	c.otherPayment(t, n)
	c.unknownWord(t, n)
	c.personalWord(t, n)
	c.personalReference(t, n)
}

// statuses walks every HTTP status with good and bad bodies.
func (c *fixture) statuses(t *testing.T, n provider.Notice) {
	t.Helper()
	for status := 100; status < 600; status++ {
		for _, body := range []string{c.text("answer.body"), "", "{}", "<html>" + planted + "</html>"} {
			_, err := c.p.Answer(target(n), c.account(), provider.Reply{Status: status, Body: []byte(body)})
			good := status == http.StatusOK && body == c.text("answer.body")
			if (err == nil) != good {
				t.Errorf("status %d with %.40q gives %v", status, body, err)
			}
			if err != nil {
				c.classed(t, "a status", err)
			}
			c.nobodyKnows(t, status, body, err)
		}
	}
}

// nobodyKnows proves that a provider is not taken to speak of the payment where
// something before it speaks: what an edge says while the provider is being
// deployed, or of a wrong path, says nothing of any payment.
func (c *fixture) nobodyKnows(t *testing.T, status int, body string, err error) {
	t.Helper()
	foreign := !strings.HasPrefix(body, "{")
	if foreign && status == http.StatusForbidden && !errors.Is(err, provider.ErrForeign) {
		t.Errorf("status %d with %.40q gives %v, want ErrForeign: a firewall says nothing of the credential", status, body, err)
	}
	if foreign && errors.Is(err, provider.ErrNotFound) {
		t.Errorf("status %d with %.40q means an unknown payment", status, body)
	}
	gone := status == http.StatusNotFound || status == http.StatusGone
	if foreign && gone && !errors.Is(err, provider.ErrUnavailable) {
		t.Errorf("status %d with %.40q gives %v, want ErrUnavailable", status, body, err)
	}
}

// unknownPayments asks for a fixture that shows how the provider says that it
// does not know a payment.
func unknownPayments(t *testing.T, p provider.Provider, all []*fixture) {
	for _, c := range all {
		if _, err := c.fact(); errors.Is(err, provider.ErrNotFound) {
			return
		}
	}
	if p.Ask != nil {
		t.Error("no fixture shows the answer about an unknown payment")
	}
}

// classed proves that an error has a class and shows nothing.
func (c *fixture) classed(t *testing.T, what string, err error) {
	t.Helper()
	c.clean(t, what, err.Error())
	if isUnknownWord(err) {
		return
	}
	for _, class := range classes {
		if errors.Is(err, class) {
			return
		}
	}
	t.Errorf("%s gives %v, which has no class", what, err)
}

func (c *fixture) answersAgain(t *testing.T, n provider.Notice, want order.Fact) {
	t.Helper()
	r := c.reply()
	before := bytes.Clone(r.Body)
	f, err := c.p.Answer(target(n), c.account(), r)
	if !bytes.Equal(before, r.Body) {
		t.Error("answer changed its input")
	}
	for i := range r.Body {
		r.Body[i] = '#'
	}
	if err != nil || !reflect.DeepEqual(f, want) {
		t.Errorf("the same answer, then overwritten, gives %+v, %v", f, err)
	}
	r = c.reply()
	r.Body = []byte(plant(string(r.Body)))
	if f, err := c.p.Answer(target(n), c.account(), r); err != nil || !reflect.DeepEqual(f, want) {
		t.Errorf("an additional field in the answer gives %+v, %v", f, err)
	}
	read := func(body string) (order.Fact, error) {
		r := c.reply()
		r.Body = []byte(body)
		return c.p.Answer(target(n), c.account(), r)
	}
	asSent(t, c.text("answer.body"), want, read)
	emptied(t, c.text("answer.body"), read)
	oneReading(t, c.text("answer.body"), want, read)
}

// otherPayment asks about another payment than the one that answers, where
// the answer says which one it is about.
func (c *fixture) otherPayment(t *testing.T, n provider.Notice) {
	t.Helper()
	if !strings.Contains(c.text("answer.body"), `"`+c.id(n)+`"`) {
		return
	}
	other := target(n)
	other.Payment += "-other"
	if f, err := c.p.Answer(other, c.account(), c.reply()); !errors.Is(err, provider.ErrUnreadable) {
		t.Errorf("an answer about another payment gives %+v, %v", f, err)
	}
}

// unknownWord puts a word that nobody knows wherever the answer has its
// status. At least one of the places must be the status.
func (c *fixture) unknownWord(t *testing.T, n provider.Notice) {
	t.Helper()
	f, _ := c.fact()
	found := false
	for _, word := range []any{"NEVER_HEARD", json.Number("987654")} {
		for _, body := range replaced(t, c.text("answer.body"), f.ProviderStatus, word) {
			got, err := c.p.Answer(target(n), c.account(), provider.Reply{Status: http.StatusOK, Body: body})
			var unknown *provider.UnknownWordError
			if !errors.As(err, &unknown) {
				continue
			}
			found = true
			c.unknownFact(t, f, got, unknown)
		}
	}
	if !found {
		t.Errorf("no place for %q in the answer gives an UnknownWordError", f.ProviderStatus)
	}
}

// personalWord puts a number of a person wherever the answer has its status: a
// field path may be misconfigured.
func (c *fixture) personalWord(t *testing.T, n provider.Notice) {
	t.Helper()
	const cpf = "529.982.247-25"
	f, _ := c.fact()
	for _, body := range replaced(t, c.text("answer.body"), f.ProviderStatus, cpf) {
		got, err := c.p.Answer(target(n), c.account(), provider.Reply{Status: http.StatusOK, Body: body})
		if isUnknownWord(err) || err == nil && got.ProviderStatus == cpf || err != nil && strings.Contains(err.Error(), cpf) {
			t.Errorf("a CPF for a status gives the word %q, %v", got.ProviderStatus, err)
		}
	}
}

// personalReference puts what is about a person, and what is no code, wherever
// the answer has the provider's reference.
func (c *fixture) personalReference(t *testing.T, n provider.Notice) {
	t.Helper()
	f, _ := c.fact()
	if f.ProviderReference == "" {
		return
	}
	for _, planted := range []string{"529.982.247-25", "ref-52998224725", "maria@example.com", "Maria Souza", strings.Repeat("x", 300)} {
		for _, body := range replaced(t, c.text("answer.body"), f.ProviderReference, planted) {
			got, err := c.p.Answer(target(n), c.account(), provider.Reply{Status: http.StatusOK, Body: body})
			if got.ProviderReference == planted || err == nil && got.ProviderReference != "" && got.ProviderReference != f.ProviderReference {
				t.Errorf("the reference %.40q is passed on as %.40q", planted, got.ProviderReference)
			}
		}
	}
}

// unknownFact compares the rest of a fact whose word is unknown.
func (c *fixture) unknownFact(t *testing.T, known, got order.Fact, unknown *provider.UnknownWordError) {
	t.Helper()
	if got.Status != "" || got.ProviderStatus != unknown.Word || unknown.Word == "" || unknown.Word == known.ProviderStatus {
		t.Errorf("unknown word %q beside status %q and word %q", unknown.Word, got.Status, got.ProviderStatus)
	}
	if got.Kind != known.Kind || got.Order != known.Order || got.ProviderReference != known.ProviderReference {
		t.Errorf("an unknown word changes the rest of the fact to %+v", got)
	}
	c.clean(t, "an unknown word", unknown.Error())
}

func (c *fixture) unknownClaim(t *testing.T, n provider.Notice) {
	t.Helper()
	known, _ := c.fact()
	for name, value := range n.Fields {
		if value != known.ProviderStatus {
			continue
		}
		tg := target(n)
		tg.Fields = maps.Clone(n.Fields)
		tg.Fields[name] = "NEVER_HEARD"
		got, err := c.p.Payload(tg)
		var unknown *provider.UnknownWordError
		if !errors.As(err, &unknown) {
			t.Fatalf("an unknown word in a claim gives %+v, %v", got, err)
		}
		c.unknownFact(t, known, got, unknown)
		return
	}
	t.Errorf("no field of the notice has the word %q", known.ProviderStatus)
}

// replaced gives the body once for every scalar that reads as word, with that
// scalar replaced.
func replaced(t *testing.T, body, word string, by any) [][]byte {
	t.Helper()
	var all [][]byte
	for place := 0; ; place++ {
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		var doc any
		if err := d.Decode(&doc); err != nil {
			t.Fatalf("answer.body: %v", err)
		}
		left := place
		doc = swap(doc, word, by, &left)
		if left >= 0 {
			return all
		}
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw)
	}
}

// swap replaces the scalar number *left, counted over those that read as
// word; *left is negative once it is done.
func swap(v any, word string, by any, left *int) any {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			v[key] = swap(v[key], word, by, left)
		}
	case []any:
		for i := range v {
			v[i] = swap(v[i], word, by, left)
		}
	case string:
		if v == word {
			return swapScalar(v, by, left)
		}
	case json.Number:
		if v.String() == word {
			return swapScalar(v, by, left)
		}
	}
	return v
}

// swapScalar counts one scalar that reads as the word, and replaces it when
// it is the one that is counted to.
func swapScalar(v, by any, left *int) any {
	if *left--; *left == -1 {
		return by
	}
	return v
}
