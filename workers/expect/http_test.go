package expect_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"arauto/schemas/expectation"
	"arauto/schemas/subject"
	"arauto/workers/expect"
	"arauto/workers/internal/expectations"
)

const token = "token-of-this-test"

func TestRoutesAnnounceReplaceAndWithdraw(t *testing.T) {
	t.Parallel()
	r := open(t, 1)
	routes := expect.Routes{Token: func() string { return token }, Store: r.store, Log: zap.NewNop(), Check: func(provider, _, _ string) error {
		if provider != "sandbox" {
			return errors.New("there is no provider of that name")
		}
		return nil
	}}
	mux := http.NewServeMux()
	mux.Handle("PUT /expectations/{provider}/{account}/{payment}", routes.Put())
	mux.Handle("DELETE /expectations/{provider}/{account}/{payment}", routes.Delete())
	const body = `{"order":"o-1","amount":{"currency":"BRL","value":10000},"deadline":"2099-01-01T00:00:00Z","note":"ignored"}`
	for _, c := range []struct {
		name, method, path, authorization, body string
		status                                  int
		result                                  expectations.Result
	}{
		{"no token", "PUT", "sandbox/default/a%2Fb", "", body, 401, ""},
		{"another token", "PUT", "sandbox/default/a%2Fb", "Bearer other", body, 401, ""},
		{"another scheme", "PUT", "sandbox/default/a%2Fb", "Basic " + token, body, 401, ""},
		{"nothing to withdraw", "DELETE", "sandbox/default/a%2Fb", "Bearer " + token, "", 200, expectations.Absent},
		{"new", "PUT", "sandbox/default/a%2Fb", "Bearer " + token, body, 200, expectations.Accepted},
		{"the same", "PUT", "sandbox/default/a%2Fb", "bearer " + token, body, 200, expectations.Unchanged},
		{"the same in another zone", "PUT", "sandbox/default/a%2Fb", "Bearer " + token, strings.Replace(body, "2099-01-01T00:00:00Z", "2098-12-31T21:00:00-03:00", 1), 200, expectations.Unchanged},
		{"another sum", "PUT", "sandbox/default/a%2Fb", "Bearer " + token, strings.Replace(body, "10000", "9000", 1), 200, expectations.Replaced},
		{"no order", "PUT", "sandbox/default/a%2Fb", "Bearer " + token, `{}`, 400, ""},
		{"another payment", "PUT", "sandbox/default/a%2Fb", "Bearer " + token, `{"order":"o","payment":"c"}`, 400, ""},
		{"too long", "PUT", "sandbox/default/a%2Fb", "Bearer " + token, `{"order":"` + strings.Repeat("o", 20<<10) + `"}`, 400, ""},
		{"what cannot be expected", "PUT", "other/default/a", "Bearer " + token, body, 422, ""},
		{"withdrawn", "DELETE", "sandbox/default/a%2Fb", "Bearer " + token, "", 200, expectations.Withdrawn},
	} {
		q := httptest.NewRequestWithContext(r.Ctx, c.method, "/expectations/"+c.path, strings.NewReader(c.body))
		if c.authorization != "" {
			q.Header.Set("Authorization", c.authorization)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, q)
		var a expect.Answer
		r.Must(json.Unmarshal(w.Body.Bytes(), &a))
		if w.Code != c.status || a.Result != c.result || (a.Error == "") != (c.status == 200) {
			t.Errorf("%s: %d %+v, want %d %s", c.name, w.Code, a, c.status, c.result)
		}
	}
	stored := r.Messages(subject.Expectations, r.Unit("a/b").Expected())
	if len(stored) != 1 {
		t.Fatalf("%d expectations are stored", len(stored))
	}
	if e, err := expectation.Read(stored[0].Data); err != nil || !e.Withdrawn || e.Payment != "a/b" {
		t.Errorf("%s is stored, %v", stored[0].Data, err)
	}
	r.Stop()
	q := httptest.NewRequestWithContext(r.Ctx, http.MethodPut, "/expectations/sandbox/default/p", strings.NewReader(body))
	q.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, q)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("without a broker: %d %v", w.Code, w.Header())
	}
}
