package providertest

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"arauto/schemas/provider"
)

// arrival is when the webhooks of the suite arrive.
var arrival = time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)

// signed is the sample's webhook about a payment, sent and received at the given times.
type signed struct {
	t *testing.T
	p provider.Provider
}

// secrets are those of the suite's account, while one of them replaces the other.
var secrets = []string{"made-up-first-secret-5b0d", "made-up-second-secret-91c4"}

// webhook is made at sent and signed with secret.
func (s signed) webhook(sent time.Time, secret string) provider.Webhook {
	unit := s.p.Sample.Units[0]
	w := s.p.Sample.Webhook(provider.State{
		Account: provider.DefaultAccount, Unit: unit.Name, ID: "9000001", Order: "order-1", Status: unit.Opening, Amount: 10000,
		Reference: "0123456789abcdef0123456789abcdef", Created: sent, Changed: sent, Since: sent,
	})
	w.Method, w.Path, w.At = "POST", "/v1/"+s.p.Name+"/notifications", sent
	if secret != "" {
		s.p.Sample.Sign(&w, secret)
	}
	w.At = arrival
	return w
}

// accepts verifies a webhook that must be let in, and returns which secret it matches.
func (s signed) accepts(what string, w provider.Webhook) int {
	s.t.Helper()
	which, err := s.verify(what, w)
	if err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
	return which
}

// refuses verifies a webhook that must not be let in. An error that is no refusal of a
// credential fails, too.
func (s signed) refuses(what string, w provider.Webhook) {
	s.t.Helper()
	if _, err := s.verify(what, w); !errors.Is(err, provider.ErrBadCredential) && !errors.Is(err, provider.ErrNoCredential) {
		s.t.Errorf("%s: %v", what, err)
	}
}

// verify verifies a webhook and an exact copy of it.
func (s signed) verify(what string, w provider.Webhook) (int, error) {
	s.t.Helper()
	if !s.p.SignsBody {
		w.Body = nil // As the gateway calls it.
	}
	which, err := s.p.Verify(w, secrets)
	for _, secret := range secrets {
		if strings.Contains(text(err), secret) {
			s.t.Errorf("%s: the error shows the secret: %v", what, err)
		}
	}
	if again, problem := s.p.Verify(w, secrets); again != which || text(problem) != text(err) {
		s.t.Errorf("%s: verifying an exact copy gives %d, %v after %d, %v", what, again, problem, which, err)
	}
	return which, err
}

// signing asks whether Verify takes what the sample signs, and nothing that differs from it
// in what is signed.
func signing(t *testing.T, p provider.Provider) {
	if p.Verify == nil {
		if len(p.Unsigned) < 20 {
			t.Errorf("the reason for being unsigned says too little: %q", p.Unsigned)
		}
		return
	}
	if p.Sample.Webhook == nil || p.Sample.Sign == nil || len(p.Sample.Units) == 0 {
		t.Fatal("the sample makes no signed webhook")
	}
	s := signed{t, p}
	for i, secret := range secrets {
		if which := s.accepts("a good webhook", s.webhook(arrival, secret)); which != i {
			t.Errorf("secret %d matches as number %d", i, which)
		}
	}
	s.refuses("another secret", s.webhook(arrival, "made-up-other-secret-02aa"))
	for _, none := range [][]string{nil, {"", ""}} {
		if _, err := p.Verify(s.webhook(arrival, secrets[0]), none); !errors.Is(err, provider.ErrBadCredential) {
			t.Errorf("with the account's secrets %q it gives %v", none, err)
		}
	}
	if _, err := p.Verify(s.webhook(arrival, ""), secrets); !errors.Is(err, provider.ErrNoCredential) {
		t.Errorf("a webhook without a credential gives %v", err)
	}
	s.headers()
	s.parts()
	s.timestamps()
}

// headers spoils every header that the credential consists of.
func (s signed) headers() {
	s.t.Helper()
	bare, good := headersOf(s.webhook(arrival, "")), headersOf(s.webhook(arrival, secrets[0]))
	for name, values := range good {
		if reflect.DeepEqual(bare[name], values) {
			continue
		}
		spoiled := func(what string, values ...string) {
			s.t.Helper()
			w := s.webhook(arrival, secrets[0])
			headersOf(w)[name] = values
			s.refuses(what+" in "+name, w)
		}
		spoiled("nothing")
		spoiled("a blank", " ")
		spoiled("another one behind it", values[0], "x")
		spoiled("both secrets", values[0], headersOf(s.webhook(arrival, secrets[1]))[name][0])
		spoiled("a letter behind it", values[0]+"0")
		spoiled("a cut", values[0][:len(values[0])-1])
		for i := range values[0] {
			flipped := []byte(values[0])
			flipped[i] ^= 1
			spoiled("a flipped byte", string(flipped))
		}
		w := s.webhook(arrival, secrets[0])
		headersOf(w)[name] = []string{values[0], values[0]}
		s.accepts("the same twice in "+name, w)
	}
}

// parts changes what is signed of the body and the query.
func (s signed) parts() {
	s.t.Helper()
	changed := func(what string, change func(w *provider.Webhook)) {
		s.t.Helper()
		w := s.webhook(arrival, secrets[0])
		change(&w)
		s.refuses(what, w)
	}
	if s.p.SignsBody {
		changed("no body", func(w *provider.Webhook) { w.Body = nil })
		changed("another body", func(w *provider.Webhook) { w.Body = append(slices.Clone(w.Body), ' ') })
	}
	for _, q := range s.p.Query {
		if !q.Signed {
			continue
		}
		for what, values := range map[string][]string{"another": {"9000002"}, "no": nil, "an empty": {""}, "a second": {"9000001", "9000002"}} {
			changed(what+" "+q.Name, func(w *provider.Webhook) {
				w.Query = maps.Clone(w.Query)
				w.Query[q.Name] = values
			})
		}
	}
}

// timestamps signs at other times than that of the arrival.
func (s signed) timestamps() {
	s.t.Helper()
	tolerance, redelivery := s.p.Tolerance, s.p.Sample.Redelivery
	if tolerance == 0 {
		return
	}
	if tolerance <= redelivery {
		s.t.Errorf("the tolerance is %s, and redeliveries come for %s", tolerance, redelivery)
	}
	for _, early := range []time.Duration{0, redelivery, tolerance - time.Second, time.Second - tolerance} {
		s.accepts("signed "+early.String()+" before its arrival", s.webhook(arrival.Add(-early), secrets[0]))
	}
	for what, at := range map[string]time.Time{
		"too long ago": arrival.Add(-tolerance), "too far ahead": arrival.Add(tolerance + time.Second),
		"1970": time.Unix(0, 0), "2099": time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		w := s.webhook(at, secrets[0])
		s.refuses("signed "+what, w)
		if _, err := s.p.Verify(w, secrets); provider.RefusalOf(err).Rule != provider.RuleTimestamp {
			s.t.Errorf("signed %s gives %v, want the rule of the timestamp", what, err)
		}
	}
}

func headersOf(w provider.Webhook) provider.HeaderMap {
	h, ok := w.Header.(provider.HeaderMap)
	if !ok {
		return provider.HeaderMap{}
	}
	return h
}
