package expectations_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
	"arauto/workers/internal/expectations"
)

func TestMain(m *testing.M) { testbench.Main(m) }

func TestWhatCannotBeLookedUpIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "arauto.yaml")
	testbench.Must(t, os.WriteFile(path, []byte(`profile: local
providers:
  sandbox: {accounts: {default: {}}}
  picpay-checkout: {accounts: {default: {}}}
  picpay-subscriptions: {accounts: {default: {}}}
  beeteller: {accounts: {default: {}, asked: {settings: {lookup_url: "https://b.example.com/{payment}"}}}}
`), 0o600))
	cfg, err := config.Load(path, func(string) (string, bool) { return "", false }, providers.All)
	testbench.Must(t, err)
	for _, c := range []struct {
		provider, account, payment string
		kind                       order.Kind
		wrong                      string
	}{
		{"sandbox", "default", "p", order.Payment, ""},
		{"sandbox", "other", "p", "", "no account"},
		{"nobank", "default", "p", "", "no provider"},
		{"sandbox", "default", "..", "", "path step"},
		{"picpay-checkout", "default", "charge", order.Payment, ""},
		{"picpay-checkout", "default", "3ds-charge", "", "3DS"},
		{"sandbox", "default", "3ds-p", order.Payment, ""},
		{"picpay-subscriptions", "default", "p", "", "cannot be looked up"},
		{"beeteller", "default", "p", "", "cannot be looked up"},
	} {
		kind, err := expectations.Check(cfg, c.provider, c.account, c.payment)
		if c.wrong == "" && (err != nil || kind != c.kind) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%s/%s/%s: %s, %v, want %q %q", c.provider, c.account, c.payment, kind, err, c.kind, c.wrong)
		}
	}
}

func TestPaymentIsThatOfTheSubject(t *testing.T) {
	t.Parallel()
	tokens, err := subject.Keyed(testbench.HashKey)
	testbench.Must(t, err)
	for _, id := range []string{"p", "a/b c", "x@example.com", "12345678909", strings.Repeat("é", 60)} {
		u := tokens.Unit("sandbox", "default", id)
		if got, err := expectations.Payment(tokens, u, id); err != nil || got != id {
			t.Errorf("%q by its name: %q, %v", id, got, err)
		}
		got, err := expectations.Payment(tokens, u, "")
		if hashed := strings.HasPrefix(u.Payment, "~"); hashed == (err == nil) || !hashed && got != id {
			t.Errorf("%q by its token %s: %q, %v", id, u.Payment, got, err)
		}
		if _, err := expectations.Payment(tokens, u, "other"); err == nil {
			t.Errorf("%q may be announced under another name", id)
		}
	}
}
