package privacy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"arauto/schemas/provider"
)

// sower sends webhooks with canaries, and has look-ups answered with canaries.
type sower struct {
	*plant
	bad   []canary // What must not be found.
	given *search  // For that and the ids, in what the gateway answers.
	extra map[string]string
	next  int
	paid  []string // Payments of which something is stored, for the operator's command.
	asked []string // Payments whose changed answers are waited for.
}

// state is a new payment in the state of a step of a provider's stories.
func (s *sower) state(account string, unit provider.SampleUnit, step provider.Step) provider.State {
	s.next++
	now := time.Now()
	id := fmt.Sprintf("8%07d", s.next)
	return provider.State{
		Account: account, Unit: unit.Name, ID: id, Order: "o" + id, Status: step.Word, Amount: 10000, Refunded: step.Refunded, Captured: step.Captured,
		Reference: fmt.Sprintf("%032x", s.next), Created: now, Changed: now, Since: now,
	}
}

// allowed reports whether a kind of canary may stay where an adapter reads it, because
// nothing tells it from what belongs there:
//   - an id and a provider's reference are what a merchant and a provider chose;
//   - a status word is shown as the provider said it, so that an unknown one is never guessed.
//
// CPF, CNPJ and e-mail are told from both. Any number may be an amount.
func allowed(c canary, role string) bool {
	switch {
	case role == "amount":
		return true
	case strings.HasPrefix(c.kind, "cpf"), strings.HasPrefix(c.kind, "cnpj"), c.kind == "email":
		return role == "payment" || role == "order" // Planted there as ids instead.
	case role == "payment", role == "order", role == "reference":
		return true
	}
	return role == "word" && (c.kind == "name" || c.kind == "address")
}

// isID reports whether a role is that of an id. The others of what an adapter reads are
// field, word, reference, reason and amount. A text that it refuses or passes over has none.
func isID(role string) bool { return role == "payment" || role == "order" }

// rotation is what the fields that no adapter reads are filled with, document by document:
// each field with each canary, and with some of the secrets. All secrets are in the unknown
// fields of each document.
func (s *sower) rotation(read []int, document int) func(leaf int, old string) (string, bool) {
	return func(leaf int, _ string) (string, bool) {
		all := canaries
		if document == len(canaries) {
			all = s.bad[len(canaries):]
		}
		return all[(document+leaf)%len(all)].text, !slices.Contains(read, leaf)
	}
}

// webhooks plants canaries in every field of a webhook.
func (s *sower) webhooks(known provider.Provider, account string, unit provider.SampleUnit, step provider.Step) {
	s.T.Helper()
	plain := known.Sample.Webhook(s.state(account, unit, step))
	before, err := known.Notices(plain)
	if err != nil {
		s.T.Fatalf("%s: its own webhook: %v", known.Name, err)
	}
	var read []int
	for leaf := range leaves(plain.Body) {
		w := plain
		w.Body = with(plain.Body, leaf, "zzzz")
		if after, err := known.Notices(w); err != nil || !reflect.DeepEqual(before, after) {
			read = append(read, leaf)
		}
	}
	for i := range len(canaries) + 1 {
		state := s.state(account, unit, step)
		s.set(known, unit, state)
		w := known.Sample.Webhook(state)
		w.Body = edit(w.Body, s.rotation(read, i), s.extra)
		status, answer := s.post(known, account, w, s.headers(), s.query())
		if status != http.StatusOK {
			s.T.Errorf("%s: a webhook with canaries in fields that are not read gave %d %s", known.Name, status, answer)
		}
		s.paid = append(s.paid, unit.Prefix+state.ID)
	}
	for _, leaf := range read {
		s.replaced(known, account, unit, step, leaf)
	}
}

// replaced plants each canary in a field that the adapter reads.
func (s *sower) replaced(known provider.Provider, account string, unit provider.SampleUnit, step provider.Step, leaf int) {
	s.T.Helper()
	for _, c := range slices.Concat(canaries, ids) {
		state := s.state(account, unit, step)
		w := known.Sample.Webhook(state)
		w.Body = with(w.Body, leaf, c.text)
		all, err := known.Notices(w)
		role := ""
		for _, n := range all {
			role = cmp.Or(role, noticeRole(n, c.text))
		}
		if person := strings.HasPrefix(c.kind, "id_"); person && !isID(role) || !person && allowed(c, role) {
			continue
		}
		s.set(known, unit, state)
		status, answer := s.post(known, account, w, nil, "")
		s.given.in("answer to a webhook of "+known.Name, answer)
		if refused := err != nil; refused != (status != http.StatusOK) {
			s.T.Errorf("%s with %s in field %d gave %d, its adapter says %v", known.Name, c.kind, leaf, status, err)
		}
	}
}

// noticeRole is what a text of a webhook becomes.
func noticeRole(n provider.Notice, text string) string {
	switch {
	case strings.HasSuffix(n.Payment, text): // 3DS results have a prefix.
		return "payment"
	case n.Order == text:
		return "order"
	case n.Unknown == text:
		return "word"
	}
	for name, value := range n.Fields {
		switch {
		case value != text:
		case name == "status":
			return "word"
		case name == "authorizationId":
			return "reference"
		default:
			return "field"
		}
	}
	return ""
}

// headers are those that senders and proxies add.
func (s *sower) headers() http.Header {
	h := http.Header{}
	for i, name := range []string{
		"cookie", "user-agent", "referer", "x-forwarded-for", "x-customer-document", "x-email", "tracestate", "baggage", "x-api-key",
		"x-access-token", "origin", "from", "nats-msg-id", "proxy-authorization", "traceparent", "forwarded",
	} {
		h.Set(name, strings.Map(visible, s.bad[(i+s.next)%len(s.bad)].text))
	}
	h.Set("event_type", strings.Map(visible, canaries[s.next%len(canaries)].text)) // It is kept as a word is, so no secret.
	return h
}

// visible drops what cannot be in a header.
func visible(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

func (s *sower) query() string {
	all := url.Values{}
	for i, c := range s.bad {
		all.Set(fmt.Sprintf("x%d", i), c.text)
	}
	return all.Encode()
}

// answers plants canaries in every field of the answer to a look-up.
func (s *sower) answers(known provider.Provider, account string, unit provider.SampleUnit, step provider.Step) {
	s.T.Helper()
	state := s.state(account, unit, step)
	state.ID = unit.Prefix + state.ID
	plain, err := json.Marshal(unit.Answer(state))
	s.Must(err)
	settings := s.settings(known, account)
	for _, d := range known.Settings {
		if _, given := settings[d.Name]; !given {
			settings[d.Name] = d.Default
		}
	}
	answer := func(body []byte) (fact any, err error) {
		return known.Answer(provider.Target{Kind: unit.Kind, Payment: state.ID, Order: state.Order}, provider.Account{Name: account, Settings: settings},
			provider.Reply{Status: http.StatusOK, Header: provider.HeaderMap{"content-type": {"application/json"}}, Body: body})
	}
	before, err := answer(plain)
	if err != nil {
		s.T.Fatalf("%s: its own answer: %v", known.Name, err)
	}
	var read []int
	for leaf := range leaves(plain) {
		if after, err := answer(with(plain, leaf, "zzzz")); err != nil || !reflect.DeepEqual(before, after) {
			read = append(read, leaf)
		}
	}
	for i := range len(canaries) + 1 {
		s.lookUp(known, account, unit, step, func(r *http.Response, body []byte) []byte {
			s.addHeaders(r)
			return edit(body, s.rotation(read, i), s.extra)
		})
	}
	for _, leaf := range read {
		for _, c := range slices.Concat(canaries, ids) {
			fact, err := answer(with(plain, leaf, c.text))
			role := factRole(fact, err, c.text)
			if person := strings.HasPrefix(c.kind, "id_"); person && role != "order" || !person && allowed(c, role) {
				continue
			}
			s.lookUp(known, account, unit, step, func(_ *http.Response, body []byte) []byte { return with(body, leaf, c.text) })
		}
	}
}

// factRole is what a text of an answer becomes, "" if the adapter refuses it or passes it over.
func factRole(fact any, err error, text string) string {
	var word *provider.UnknownWordError
	if errors.As(err, &word) && word.Word == text {
		return "word"
	}
	v := reflect.ValueOf(fact)
	for field, role := range map[string]string{
		"Order": "order", "ProviderReference": "reference", "ProviderStatus": "word", "Reason": "reason",
	} {
		if v.FieldByName(field).String() == text && err == nil {
			return role
		}
	}
	if amount := v.FieldByName("Amount"); err == nil && !amount.IsNil() && strings.Contains(fmt.Sprint(amount.Elem()), text) {
		return "amount"
	}
	return ""
}

func (s *sower) addHeaders(r *http.Response) {
	for i, name := range []string{"set-cookie", "x-customer", "server", "etag", "link", "x-request-id", "www-authenticate"} {
		r.Header.Set(name, strings.Map(visible, s.bad[i%len(s.bad)].text))
	}
}

// lookUp has one new payment looked up, and its answer changed.
func (s *sower) lookUp(known provider.Provider, account string, unit provider.SampleUnit, step provider.Step, change answerEdit) {
	s.T.Helper()
	state := s.state(account, unit, step)
	s.proxy.on(state.ID, change)
	s.set(known, unit, state)
	if status, answer := s.post(known, account, known.Sample.Webhook(state), nil, ""); status != http.StatusOK {
		s.T.Fatalf("%s: its own webhook gave %d %s", known.Name, status, answer)
	}
	s.asked = append(s.asked, state.ID)
	s.paid = append(s.paid, unit.Prefix+state.ID)
}

// errors has look-ups answered by errors of every class, in the provider's own words and by
// pages, which hold canaries.
func (s *sower) errors(known provider.Provider, account string, unit provider.SampleUnit, step provider.Step) {
	s.T.Helper()
	page := "<html><head><title>" + s.bad[0].text + "</title></head><body>"
	for _, c := range s.bad {
		page += "<p>" + c.text + "</p>"
	}
	for i, status := range []int{200, 302, 400, 404, 410, 422, 429, 500, 503, 403, 401} {
		own, err := json.Marshal(known.Sample.Refusal(status))
		s.Must(err)
		for kind, body := range map[string][]byte{
			"own":     edit(own, func(leaf int, _ string) (string, bool) { return s.bad[(i+leaf)%len(s.bad)].text, true }, s.extra),
			"more":    edit(own, func(int, string) (string, bool) { return "", false }, s.extra),
			"page":    []byte(page),
			"garbage": []byte(`{"status": ` + s.bad[i%len(s.bad)].text),
		} {
			if status == 200 && (kind == "own" || kind == "more") {
				continue
			}
			if s.next%8 == 0 { // Twenty failures in a row would stop all look-ups at the host.
				s.lookUp(known, account, unit, step, func(_ *http.Response, body []byte) []byte { return body })
				s.settle()
			}
			s.lookUp(known, account, unit, step, func(r *http.Response, _ []byte) []byte {
				s.addHeaders(r)
				r.StatusCode = status
				r.Header.Set("Location", "/?cpf="+url.QueryEscape(s.bad[i%len(s.bad)].text))
				r.Header.Set("Retry-After", canaries[i%len(canaries)].text)
				if kind == "page" {
					r.Header.Set("Content-Type", "text/html")
				}
				return body
			})
			if status == 401 || status == 403 { // It stops the account, so the next one waits.
				s.asked = nil
			}
		}
	}
}

// persons has payments and orders whose ids are personal data.
func (s *sower) persons(known provider.Provider, account string, unit provider.SampleUnit, step provider.Step) {
	s.T.Helper()
	for i, c := range ids {
		for _, change := range []func(*provider.State){
			func(p *provider.State) { p.ID = c.text },
			func(p *provider.State) { p.Order = c.text },
			func(p *provider.State) { p.ID, p.Order = ids[(i+1)%len(ids)].text, c.text },
		} {
			state := s.state(account, unit, step)
			change(&state)
			s.set(known, unit, state)
			w := known.Sample.Webhook(state)
			_, err := known.Notices(w)
			if status, answer := s.post(known, account, w, nil, ""); (status == http.StatusOK) != (err == nil) {
				s.T.Errorf("%s: the webhook of a person's payment gave %d %s, its adapter says %v", known.Name, status, answer, err)
			}
		}
	}
}

// strangers send secrets and personal data where none belong, with wrong credentials and in
// requests that are none.
func (s *sower) strangers(known provider.Provider) {
	s.T.Helper()
	base := "http://" + s.address("gateway")
	for _, c := range s.bad {
		in := url.PathEscape(strings.Map(visible, c.text))
		for _, path := range []string{
			"/v1/" + known.Name + "/" + in + "/notifications", "/v1/" + known.Name + "/default/" + in + "/notifications", "/v1/" + in + "/notifications", "/" + in,
			"/v1/" + known.Name + "/notifications?key=" + url.QueryEscape(c.text),
		} {
			for _, method := range []string{http.MethodPost, http.MethodGet} {
				request, err := http.NewRequestWithContext(s.Ctx, method, base+path, strings.NewReader(c.text))
				s.Must(err)
				for _, name := range []string{"authorization", "x-seller-token", "x-verification-key", "x-signature", "content-encoding", "content-type", "event-type"} {
					request.Header.Set(name, strings.Map(visible, c.text))
				}
				_, answer := s.do(request)
				s.given.in("answer to a stranger", answer)
			}
		}
	}
}
