package chart_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"
)

// otelToken is what the collector of the test wants of each request.
const otelToken = "Bearer otel-token-of-this-test"

// collector takes spans by OTLP over HTTP, and knows the roles that have sent some.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	roles map[string]bool
}

// service finds the attribute service.name of spans, which protobuf has as plain text.
var service = regexp.MustCompile(`arauto-([a-z]+)`)

func collectSpans(t *testing.T) *collector {
	t.Helper()
	c := &collector{roles: map[string]bool{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != otelToken || r.URL.Path != "/v1/traces" {
			t.Errorf("spans are sent to %s with the authorization %q", r.URL.Path, got)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // The role has ended.
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, m := range service.FindAllSubmatch(body, -1) {
			c.roles[string(m[1])] = true
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// has wants spans of a role.
func (c *collector) has(t *testing.T, role string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.roles[role] {
		t.Errorf("no span of %s was exported, but of %v", role, c.roles)
	}
}
