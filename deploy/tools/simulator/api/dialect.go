package api

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

// accounts are the merchants that every provider knows.
var accounts = []string{provider.DefaultAccount, "acme"}

// key names one payment, or one part of one, of one account.
type key struct {
	Provider string `json:"provider"`
	Account  string `json:"account"`
	Unit     string `json:"unit"`
	ID       string `json:"payment"`
}

// question is one look-up, before it is answered.
type question struct {
	unit    provider.SampleUnit
	id      string
	account string // "" when the credential is nobody's.
}

// payment is where a payment stands.
type payment = provider.State

// dialect is how one provider speaks: its adapter's sample.
type dialect struct {
	provider.Sample
}

// dialectOf is how the provider of that slug speaks, false for none.
func dialectOf(slug string) (dialect, bool) {
	p, ok := providers.All.Get(slug)
	return dialect{p.Sample}, ok
}

// unit is the unit of that name, false for none.
func (d dialect) unit(name string) (provider.SampleUnit, bool) {
	i := slices.IndexFunc(d.Units, func(u provider.SampleUnit) bool { return u.Name == name })
	if i < 0 {
		return provider.SampleUnit{}, false
	}
	return d.Units[i], true
}

// examples are the payments of the providers' own documentation, known from the start so
// that their sample notifications lead to an answer.
func examples(now time.Time) map[key]entry {
	all := map[key]entry{}
	for _, p := range providers.All {
		for _, u := range p.Sample.Units {
			for _, s := range u.Known {
				s.Created, s.Changed, s.Since = now, now, now
				all[key{p.Name, provider.DefaultAccount, u.Name, s.ID}] = entry{Now: s}
			}
		}
	}
	return all
}

// question says what a request under the provider's prefix asks for, and for whom; false
// when its path is not one of the API.
func (d dialect) question(r *http.Request, path []string, now time.Time) (question, bool) {
	for _, u := range d.Units {
		if id, ok := match(u.LookUp, r, path); ok && u.LookUp != "" {
			return question{u, id, d.asker(r, now)}, true
		}
	}
	return question{}, false
}

// match finds the id in a request for the path and query of a template.
func match(template string, r *http.Request, path []string) (id string, ok bool) {
	fixed, query, _ := strings.Cut(template, "?")
	segments := strings.Split(fixed, "/")
	if len(segments) != len(path) {
		return "", false
	}
	for i, segment := range segments {
		if segment == "{id}" {
			id = path[i]
		} else if segment != path[i] {
			return "", false
		}
	}
	if name, ok := strings.CutSuffix(query, "={id}"); ok {
		id = r.URL.Query().Get(name)
	}
	return id, true
}

// asker says which account's credential a look-up carries, "" when it is nobody's.
func (d dialect) asker(r *http.Request, now time.Time) string {
	switch t := d.Token; {
	case t.Login != "":
		return bearer(r.Header.Get("authorization"), now)
	case t.Query != "":
		return d.holder(r.URL.Query().Get(t.Query), t.Setting)
	case t.Scheme != "":
		scheme, token, _ := strings.Cut(r.Header.Get(t.Header), " ")
		if !strings.EqualFold(scheme, t.Scheme) {
			return ""
		}
		return d.holder(token, t.Setting)
	default:
		return d.holder(r.Header.Get(t.Header), t.Setting)
	}
}

// holder says which account has the value of a setting, "" when none does.
func (d dialect) holder(given, setting string) string {
	for _, account := range accounts {
		if subtle.ConstantTimeCompare([]byte(given), []byte(provider.OfAccount(account, d.Settings[setting]))) == 1 {
			return account
		}
	}
	return ""
}

// word reads a status from a control call. Any word is accepted, since a provider may say
// one that nobody documented; a number may also come as text.
func word(u provider.SampleUnit, raw json.RawMessage) (string, error) {
	if !u.Numbers {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil || text == "" {
			return "", errors.New("status is not a word")
		}
		return text, nil
	}
	var number json.Number // Takes a number and the text of one.
	if err := json.Unmarshal(raw, &number); err != nil {
		return "", errors.New("status is not a number")
	}
	n, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil || n < 0 {
		return "", errors.New("status is not a whole number")
	}
	return strconv.FormatInt(n, 10), nil
}
