package privacy

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"arauto/schemas/provider"
	"arauto/schemas/subject"
)

// expectToken opens the HTTP routes of the role expect, a secret too.
const expectToken = "canary-token-of-the-expectations-0123456789"

// expectationsOn is the path of a payment's expectation.
func expectationsOn(name, account, payment string) string {
	return "/expectations/" + name + "/" + url.PathEscape(account) + "/" + url.PathEscape(payment)
}

// expectations announces payments of a provider by HTTP, with canaries in everything beside
// the documented fields.
func (s *sower) expectations(known provider.Provider) {
	s.T.Helper()
	for _, c := range ids { // The ids are persons', and nothing else that is kept has them.
		body := map[string]any{"order": c.text, "amount": nil, "deadline": time.Now().Add(time.Second)}
		for name, text := range s.extra {
			body[name] = text
		}
		s.announces(expectationsOn(known.Name, accounts[1], c.text), expectToken, body, http.StatusOK)
	}
}

// refusedExpectations announces what is refused, with canaries in each place.
func (s *sower) refusedExpectations(known provider.Provider) {
	s.T.Helper()
	plain := map[string]any{"order": "o-1", "amount": map[string]any{"currency": "BRL", "value": 100}}
	var texts []string
	for _, c := range s.bad {
		texts = append(texts, c.text)
		if c.text != expectToken {
			s.announces(expectationsOn(known.Name, accounts[1], "p"), c.text, plain, http.StatusUnauthorized)
		}
	}
	all := strings.Join(texts, " ")
	s.announces(expectationsOn(known.Name, all, "p"), expectToken, plain, http.StatusUnprocessableEntity)
	for name, wrong := range map[string]any{
		"order": texts, "deadline": all, "withdrawn": all, "payment": s.extra, "amount": map[string]any{"currency": all, "value": 1},
	} {
		body := maps.Clone(plain)
		body[name] = wrong
		s.announces(expectationsOn(known.Name, accounts[1], "p"), expectToken, body, http.StatusBadRequest)
	}
}

// announces makes one request, and searches its answer.
func (s *sower) announces(path, token string, body map[string]any, want int) {
	s.T.Helper()
	s.next++
	data, err := json.Marshal(body)
	s.Must(err)
	request, err := http.NewRequestWithContext(s.Ctx, http.MethodPut, "http://"+s.address("expect/admin")+path+"?"+s.query(), bytes.NewReader(data))
	s.Must(err)
	request.Header = s.headers()
	request.Header.Set("Authorization", "Bearer "+strings.Map(visible, token))
	status, answer := s.do(request)
	if status != want {
		s.T.Errorf("an expectation on %.60q gave %d %s, want %d", path, status, answer, want)
	}
	s.given.in("an answer to an expectation", answer)
}

// judged waits until no payment is expected any more.
func (s *sower) judged() {
	s.T.Helper()
	s.Until("all expectations to be judged", func() bool { return len(s.Messages(subject.Expectations, subject.AllExpected)) == 0 })
	if len(s.Messages(subject.Outcomes, subject.AllOutcomes)) < len(ids) {
		s.T.Error("too few outcomes for the search of them to show anything")
	}
}
