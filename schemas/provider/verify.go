package provider

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
)

// Static returns a Verify for providers that send a shared secret in a
// header. The optional scheme ("Bearer") may precede it, in any letter case;
// pass "" for none. A header that comes more than once must say the same each
// time: of two credentials, two parties could disagree on which one counts.
func Static(header, scheme string) func(Webhook, []string) (int, error) {
	return func(w Webhook, secrets []string) (_ int, err error) {
		defer func() { err = named(header, err) }()
		given, err := only(w.Header.Values(header), scheme)
		if err != nil {
			return 0, err
		}
		which, ok := Match(given, secrets)
		if !ok {
			return 0, ErrBadCredential
		}
		return which, nil
	}
}

// only is the value of a header behind its scheme, if it says the same each time that it
// comes.
func only(values []string, scheme string) (string, error) {
	if !slices.ContainsFunc(values, func(v string) bool { return strings.TrimSpace(v) != "" }) {
		return "", ErrNoCredential
	}
	given := bare(values[0], scheme)
	for _, other := range values[1:] {
		if bare(other, scheme) != given {
			return "", ErrBadCredential
		}
	}
	return given, nil
}

// named adds the header that the credential stands in.
func named(header string, err error) error {
	if err == nil {
		return nil
	}
	refusal := RefusalOf(err)
	refusal.Field = header
	return &refusal
}

func bare(value, scheme string) string {
	if n := len(scheme); n > 0 && len(value) > n && strings.EqualFold(value[:n], scheme) && value[n] == ' ' {
		return strings.TrimLeft(value[n:], " ")
	}
	return value
}

// Match returns the index of the first secret that given equals, and whether
// there is one. It takes constant time: every secret is compared, whichever
// matches, and their lengths do not show. Empty secrets match nothing.
func Match(given string, secrets []string) (which int, ok bool) {
	got := digest(given)
	found := 0
	for i, secret := range secrets {
		want := digest(secret)
		same := subtle.ConstantTimeCompare(got[:], want[:])
		if secret == "" {
			same = 0
		}
		which = subtle.ConstantTimeSelect(same&^found, i, which)
		found |= same
	}
	return which, found == 1
}

// digest has room for a usual secret, so that it need not be copied to the heap.
func digest(secret string) [sha256.Size]byte {
	var room [128]byte
	return sha256.Sum256(append(room[:0], secret...))
}

// Check says what is wrong with p as a value, or nil: a provider needs a
// slug, a reader, a vocabulary in our words, exactly one way to know who is
// calling, and at least one way to a fact.
func (p Provider) Check() error {
	switch {
	case p.Name == "" || strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fmt.Errorf("provider name %q is not a slug", p.Name)
	case p.Read == nil:
		return fmt.Errorf("provider %s cannot read its webhooks", p.Name)
	case (p.Verify == nil) == (p.Unsigned == ""):
		return fmt.Errorf("provider %s needs either Verify or the reason for being unsigned", p.Name)
	case p.Verify == nil && p.Signs():
		return fmt.Errorf("provider %s signs its webhooks, but nothing verifies them", p.Name)
	case (p.Ask == nil) != (p.Answer == nil):
		return fmt.Errorf("provider %s needs Ask and Answer together", p.Name)
	case p.Ask == nil && p.Payload == nil:
		return fmt.Errorf("provider %s has no way to a fact", p.Name)
	case len(p.Vocabulary) == 0:
		return fmt.Errorf("provider %s has no vocabulary", p.Name)
	}
	for kind, words := range p.Vocabulary {
		for word, status := range words {
			if !kind.Knows(status) {
				return fmt.Errorf("provider %s: word %q of kind %s has the unknown status %q", p.Name, word, kind, status)
			}
			for other, meaning := range words {
				if strings.EqualFold(word, other) && meaning != status {
					return fmt.Errorf("provider %s: word %q of kind %s means something else as %q", p.Name, word, kind, other)
				}
			}
		}
	}
	return nil
}

// Signs reports whether the credential is made of parts of the webhook.
func (p Provider) Signs() bool {
	return p.SignsBody || p.Tolerance != 0 || slices.ContainsFunc(p.Query, func(q Parameter) bool { return q.Signed })
}

// Set is a closed list of providers.
type Set []Provider

// MustSet returns the list and panics when an entry is unusable or comes
// twice, so that a mistake in the list is seen by every test and every start.
func MustSet(all ...Provider) Set {
	for i, p := range all {
		if err := p.Check(); err != nil {
			panic(err)
		}
		if slices.ContainsFunc(all[:i], func(q Provider) bool { return q.Name == p.Name }) {
			panic("provider " + p.Name + " is listed twice")
		}
	}
	return all
}

// Get returns the named provider.
func (s Set) Get(name string) (Provider, bool) {
	for _, p := range s {
		if p.Name == name {
			return p, true
		}
	}
	return Provider{}, false
}

// Names lists the providers' slugs in the order of the list.
func (s Set) Names() []string {
	names := make([]string, len(s))
	for i, p := range s {
		names[i] = p.Name
	}
	return names
}
