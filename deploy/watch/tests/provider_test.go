package watch_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// provider answers the look-ups of the sandbox.
type provider struct {
	url string

	mu    sync.Mutex
	down  bool              // It closes each connection without an answer.
	words map[string]string // By payment; the others it does not know.
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{words: map[string]string{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *provider) set(payment, word string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.words[payment] = word
}

func (p *provider) stop(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	payment := strings.TrimPrefix(r.URL.Path, "/payments/")
	word, known := p.words[payment]
	switch {
	case p.down:
		panic(http.ErrAbortHandler)
	case r.Header.Get("Authorization") != "good":
		http.Error(w, `{"error":"unauthorized"}`, http.StatusUnauthorized)
	case !known:
		http.Error(w, `{"error":"unknown payment"}`, http.StatusNotFound)
	case word == "garbage":
		_, _ = io.WriteString(w, "garbage")
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"payment": payment, "order": payment, "status": word, "amount": 100})
	}
}
