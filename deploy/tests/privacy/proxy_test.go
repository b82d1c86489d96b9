package privacy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// answerEdit changes the answer to a look-up.
type answerEdit func(r *http.Response, body []byte) []byte

// proxy stands between lookup and the simulator, and changes the answers about the payments
// that are registered.
type proxy struct {
	url string

	mu    sync.Mutex
	edits map[string]answerEdit // By payment.
	made  map[string]int        // How many answers about a payment were changed.
}

func newProxy(t *testing.T, simulator string) *proxy {
	t.Helper()
	p := &proxy{edits: map[string]answerEdit{}, made: map[string]int{}}
	to := &url.URL{Scheme: "http", Host: simulator}
	reverse := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: p.modify,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	s := httptest.NewServer(reverse)
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

// on has the answers about a payment changed.
func (p *proxy) on(payment string, edit answerEdit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edits[payment] = edit
}

// count is how many answers about a payment were changed.
func (p *proxy) count(payment string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made[payment]
}

// of finds the registered payment that a look-up is about.
func (p *proxy) of(r *http.Request) (payment string, edit answerEdit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, segment := range strings.Split(r.URL.EscapedPath(), "/") {
		if id, err := url.PathUnescape(segment); err == nil && p.edits[id] != nil {
			return id, p.edits[id]
		}
	}
	for _, values := range r.URL.Query() {
		if len(values) == 1 && p.edits[values[0]] != nil {
			return values[0], p.edits[values[0]]
		}
	}
	return "", nil
}

func (p *proxy) modify(r *http.Response) error {
	payment, edit := p.of(r.Request)
	if edit == nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	body = edit(r, body)
	if body == nil {
		return context.Canceled // It gets a 502.
	}
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made[payment]++
	return nil
}
