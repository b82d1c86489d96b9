package providertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/provider"
)

// answered asks the provider about a fixture with a known fact.
type answered struct {
	*fixture
	n    provider.Notice
	fact order.Fact
}

// answering asks what Answer and Payload do with what is not a good answer.
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
	a := answered{c, n, f}
	a.wordsInAnyCase(t)
	a.unknownWord(t)
	a.personalWord(t)
	if !c.has("answer.status") {
		return
	}
	bad := malformed(c.text("answer.body"), "")
	if c.newAnswer {
		maps.Copy(bad, hopeless())
		c.statuses(t, func(r provider.Reply) error {
			_, err := c.p.Answer(target(n), c.account(), r)
			nobodyKnows(t, r, err)
			return err
		}, c.text("answer.body"), "", "{}", "<html>"+planted+"</html>")
	}
	reader[order.Fact]{c, c.text("answer.body"), f, a.says, hasClass}.ask(t, bad)
	a.numericIDs(t)
	a.otherPayment(t)
	a.personalReference(t)
}

// says is what a 200 with a body means for the fixture's payment.
func (a answered) says(body []byte) (order.Fact, error) { return a.about(target(a.n), string(body)) }

// about is what a 200 with a body means for a payment.
func (a answered) about(to provider.Target, body string) (order.Fact, error) {
	return a.p.Answer(to, a.account(), provider.Reply{Status: http.StatusOK, Body: []byte(body)})
}

// nobodyKnows proves that a provider is not taken to speak of the payment where
// something before it speaks: what an edge says while the provider is being
// deployed, or of a wrong path, says nothing of any payment.
func nobodyKnows(t *testing.T, r provider.Reply, err error) {
	t.Helper()
	if strings.HasPrefix(string(r.Body), "{") {
		return
	}
	if r.Status == http.StatusForbidden && !errors.Is(err, provider.ErrForeign) {
		t.Errorf("status %d with %.40q gives %v, want ErrForeign: a firewall says nothing of the credential", r.Status, r.Body, err)
	}
	if errors.Is(err, provider.ErrNotFound) {
		t.Errorf("status %d with %.40q means an unknown payment", r.Status, r.Body)
	}
	gone := r.Status == http.StatusNotFound || r.Status == http.StatusGone
	if gone && !errors.Is(err, provider.ErrUnavailable) {
		t.Errorf("status %d with %.40q gives %v, want ErrUnavailable", r.Status, r.Body, err)
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

// numericIDs puts numbers where the fixture's answer has its ids as text.
func (a answered) numericIDs(t *testing.T) {
	t.Helper()
	id, body := a.id(a.n), a.text("answer.body")
	if strings.Contains(body, literal(body, id)) {
		to := target(a.n)
		to.Payment = strings.TrimSuffix(a.n.Payment, id) + number
		numeric(t, body, id, string(a.fact.Status), provider.ErrUnreadable, func(body string) (string, error) {
			got, err := a.about(to, body)
			return string(got.Status), err
		})
	}
	if a.fact.Order != "" && a.fact.Order != id && strings.Contains(body, literal(body, a.fact.Order)) {
		numeric(t, body, a.fact.Order, number, provider.ErrUnreadable, func(body string) (string, error) {
			got, err := a.says([]byte(body))
			return got.Order, err
		})
	}
}

// otherPayment asks about another payment than the one that answers, where
// the answer says which one it is about.
func (a answered) otherPayment(t *testing.T) {
	t.Helper()
	body := a.text("answer.body")
	if !strings.Contains(body, literal(body, a.id(a.n))) {
		return
	}
	other := target(a.n)
	other.Payment += "-other"
	if f, err := a.about(other, body); !errors.Is(err, provider.ErrUnreadable) {
		t.Errorf("an answer about another payment gives %+v, %v", f, err)
	}
}

// saying calls check with what the provider makes of a word, once for each place in the
// answer, or in the claim, that reads as the fixture's word. One of them is the status.
func (a answered) saying(t *testing.T, word any, check func(got order.Fact, err error)) {
	t.Helper()
	if a.has("answer.status") {
		for _, body := range replaced(t, a.text("answer.body"), a.fact.ProviderStatus, word) {
			check(a.says([]byte(body)))
		}
		return
	}
	for name, value := range a.n.Fields {
		if value == a.fact.ProviderStatus {
			to := target(a.n)
			to.Fields = maps.Clone(a.n.Fields)
			to.Fields[name] = fmt.Sprint(word)
			check(a.p.Payload(to))
		}
	}
}

// wordsInAnyCase says the fixture's word in other cases.
func (a answered) wordsInAnyCase(t *testing.T) {
	t.Helper()
	for _, word := range recased(a.fact.ProviderStatus) {
		a.saying(t, word, func(got order.Fact, err error) {
			t.Helper()
			spelt := got.ProviderStatus
			if _, known := a.p.Vocabulary[got.Kind][spelt]; known && strings.EqualFold(spelt, a.fact.ProviderStatus) {
				got.ProviderStatus = a.fact.ProviderStatus
			}
			if err != nil || !reflect.DeepEqual(got, a.fact) {
				t.Errorf("%q for %q is %+v, %v", word, a.fact.ProviderStatus, got, err)
			}
		})
	}
}

// unknownWord says words that no vocabulary has. The rest of the fact must stay.
func (a answered) unknownWord(t *testing.T) {
	t.Helper()
	found := false
	for _, word := range []any{"NEVER_HEARD", json.Number("987654")} {
		a.saying(t, word, func(got order.Fact, err error) {
			t.Helper()
			var unknown *provider.UnknownWordError
			if !errors.As(err, &unknown) {
				return
			}
			found = true
			want := a.fact
			if got.Status != "" || got.ProviderStatus != unknown.Word || unknown.Word == "" || unknown.Word == want.ProviderStatus {
				t.Errorf("unknown word %q beside status %q and word %q", unknown.Word, got.Status, got.ProviderStatus)
			}
			if got.Kind != want.Kind || got.Order != want.Order || got.ProviderReference != want.ProviderReference {
				t.Errorf("an unknown word changes the rest of the fact to %+v", got)
			}
			a.clean(t, "an unknown word", unknown.Error())
		})
	}
	if !found {
		t.Errorf("no place for %q gives an UnknownWordError", a.fact.ProviderStatus)
	}
}

// personalWord says a number of a person: a field path may be misconfigured.
func (a answered) personalWord(t *testing.T) {
	t.Helper()
	const cpf = "529.982.247-25"
	a.saying(t, cpf, func(got order.Fact, err error) {
		t.Helper()
		if isUnknownWord(err) || err == nil && got.ProviderStatus == cpf || strings.Contains(text(err), cpf) {
			t.Errorf("a CPF for a status gives the word %q, %v", got.ProviderStatus, err)
		}
	})
}

// personalReference puts what is about a person, and what is no code, wherever
// the answer has the provider's reference.
func (a answered) personalReference(t *testing.T) {
	t.Helper()
	known := a.fact.ProviderReference
	if known == "" {
		return
	}
	for _, planted := range []string{"529.982.247-25", "ref-52998224725", "maria@example.com", "Maria Souza", strings.Repeat("x", 300)} {
		for _, body := range replaced(t, a.text("answer.body"), known, planted) {
			got, err := a.says([]byte(body))
			if got.ProviderReference == planted || err == nil && got.ProviderReference != "" && got.ProviderReference != known {
				t.Errorf("the reference %.40q is passed on as %.40q", planted, got.ProviderReference)
			}
		}
	}
}
