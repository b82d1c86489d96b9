package providerhttp_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"arauto/schemas/providers"
)

// echo answers with every secret of the request, as a careless provider may in its
// error bodies.
func echo(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/?token="+canary)
		w.Header().Set("Retry-After", canary)
		body, _ := json.Marshal(map[string]any{
			"message": "bad token " + canary, "payment": canary, "referenceId": canary, "merchantChargeId": canary,
			"access_token": canary, "status": map[string]string{canary: canary}, "url": q.URL.String(),
			"data_response": map[string]any{"transaction": map[string]any{"token_transaction": canary, "status_id": canary}},
		})
		says(status, string(body))(w, q)
	}
}

// failing are providers with every kind of failure.
func failing(t *testing.T) map[string]string {
	t.Helper()
	bases := map[string]string{
		"refused":      refused(t),
		"no such host": "http://empty..label",
		"oversized":    serve(t, says(http.StatusOK, strings.Repeat(canary, limit))).URL,
		"garbage":      serve(t, says(http.StatusOK, "<"+canary+">")).URL,
	}
	for name, handle := range broken {
		bases[name] = serve(t, handle).URL
	}
	for _, status := range []int{200, 302, 400, 401, 403, 404, 408, 422, 429, 500, 503} {
		bases[http.StatusText(status)] = serve(t, echo(status)).URL
	}
	return bases
}

func TestSecretsNeverReachAnError(t *testing.T) {
	t.Parallel()
	for name, base := range failing(t) {
		for _, p := range append(providers.All, withLogIn()) {
			if p.Ask == nil {
				continue
			}
			t.Run(name+"/"+p.Name, func(t *testing.T) {
				t.Parallel()
				a := account(p, base)
				a.Settings["secret"], a.Settings["base_url"] = canary, base
				_, err := client(t, 500*time.Millisecond, time.Now).Ask(t.Context(), p, a, target)
				if err == nil {
					t.Fatal("no error")
				}
				for text := err.Error(); ; {
					if strings.Contains(text, canary) || strings.Contains(text, "127.0.0.1") {
						t.Errorf("an error says too much: %s", text)
					}
					plain, err := url.QueryUnescape(text)
					if err != nil || plain == text {
						break
					}
					text = plain
				}
			})
		}
	}
}

// If Yapay's credential were not in the query, the test above would prove nothing.
func TestYapaysTokenIsInTheQuery(t *testing.T) {
	t.Parallel()
	p := named(t, "yapay")
	q, err := p.Ask(target, account(p, "http://127.0.0.1"))
	if err != nil || !strings.Contains(q.URL, canary) {
		t.Fatalf("%v: the question has no canary", err)
	}
}
