package webhook_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"arauto/schemas/providers"
)

// compareCredentials compares arauto_webhook_credentials_total with the expected counts of
// the first and second credential, by "provider account".
func (g *gateway) compareCredentials(want map[string][2]int) error {
	var text strings.Builder
	text.WriteString("# HELP arauto_webhook_credentials_total Webhooks that authenticated, by provider, account and which of the account's credentials they came with (first, second).\n" +
		"# TYPE arauto_webhook_credentials_total counter\n")
	for _, name := range providers.All.Names() {
		for _, account := range []string{"default", "acme"} {
			for i, ordinal := range []string{"first", "second"} {
				fmt.Fprintf(&text, "arauto_webhook_credentials_total{account=%q,credential=%q,provider=%q} %d\n",
					account, ordinal, name, want[name+" "+account][i])
			}
		}
	}
	return testutil.GatherAndCompare(g.registry, strings.NewReader(text.String()), "arauto_webhook_credentials_total")
}

// TestCredentialsAreCountedDuringARotation sends webhooks with the old credential, then
// with the new credential, which is the account's second.
func TestCredentialsAreCountedDuringARotation(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	want := map[string][2]int{}
	if err := g.compareCredentials(want); err != nil {
		t.Errorf("before the first webhook: %v", err)
	}
	for i, c := range callers(t) {
		for j, account := range []string{"default", "acme"} {
			old, next := 1+i, 2+j
			for range old {
				g.deliver(t, c, account, c.secret(account), http.StatusOK)
			}
			for range next {
				g.deliver(t, c, account, c.second(account), http.StatusOK)
			}
			want[c.name+" "+account] = [2]int{old, next}
		}
	}
	if err := g.compareCredentials(want); err != nil {
		t.Error(err)
	}
	for _, c := range callers(t) { // Refused webhooks count for no credential.
		wrongCredential := 400105
		if c.header == "" {
			wrongCredential = 401100
		}
		g.deliver(t, c, "default", c.secret("acme"), wrongCredential)
		g.deliver(t, c, "default", "unknown", wrongCredential)
		g.deliver(t, c, "unknown", c.secret("default"), 401100)
	}
	if err := g.compareCredentials(want); err != nil {
		t.Errorf("after refused webhooks: %v", err)
	}
}

// deliver posts a webhook about a payment and expects the code.
func (g *gateway) deliver(t *testing.T, c caller, account, credential string, want int) {
	t.Helper()
	if got := g.post(c.about(account, credential, "p")).code(t); got != want {
		t.Errorf("%s of %s: code %d, want %d", account, c.name, got, want)
	}
}
