package supervise

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
)

func load(t *testing.T, env map[string]string) (*config.Config, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "arauto.yaml")
	if err := writeSettings(path, DefaultAddresses(), "http://127.0.0.1:8222"); err != nil {
		t.Fatal(err)
	}
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	cfg, err := config.Load(path, lookup, providers.All, Gateway, Lookup, Normalize, Sweep)
	if err != nil {
		t.Fatalf("the written configuration is refused: %v", err)
	}
	return cfg, path
}

func TestLocalConfigurationHasEveryProviderWithBothAccounts(t *testing.T) {
	t.Parallel()
	cfg, _ := load(t, nil)
	gateway, err := cfg.Gateway()
	if err != nil {
		t.Fatal(err)
	}
	lookup, err := cfg.Lookup()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range providers.All {
		credentials := gateway.WebhookSecrets(p.Name)
		if p.Unsigned != "" {
			credentials = gateway.PathKeys(p.Name)
		}
		first, second := credentials["default"], credentials["acme"]
		if len(first) != 1 || len(second) != 1 || second[0] != "acme-"+first[0] {
			t.Errorf("%s: account acme must have the credential of account default after acme-", p.Name)
		}
		if accounts := lookup.Accounts(p.Name); len(accounts) != 2 {
			t.Errorf("%s: %d accounts for look-ups, want 2", p.Name, len(accounts))
		}
	}
}

func TestNumbersOfTheLocalConfigurationCanBeTurned(t *testing.T) {
	t.Parallel()
	cfg, path := load(t, map[string]string{"LOOKUP_CONCURRENCY": "4", "NORMALIZE_CONCURRENCY": "5", "GATEWAY_PUBLISH_TIMEOUT": "300ms"})
	lookup, err := cfg.Lookup()
	if err != nil || lookup.Concurrency != 4 {
		t.Errorf("error %v, look-ups at once %d, want 4", err, lookup.Concurrency)
	}
	normalize, err := cfg.Normalize()
	if err != nil || normalize.Concurrency != 5 {
		t.Errorf("error %v, payments at once %d, want 5", err, normalize.Concurrency)
	}
	gateway, err := cfg.Gateway()
	if err != nil || gateway.PublishTimeout != 300*time.Millisecond {
		t.Errorf("error %v, budget %v, want 300ms", err, gateway.PublishTimeout)
	}

	// The fallbacks in the file are the defaults of the code, so that local
	// runs show what production would do. The budget alone differs, because the
	// simulator takes more than a provider would.
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bare := regexp.MustCompile(`(?m)^ +[a-z_]+: \$\{[A-Z_]+:-.*\n`).ReplaceAll(text, nil)
	if len(bare) == len(text) {
		t.Fatal("the file has no number that can be turned")
	}
	without := filepath.Join(t.TempDir(), "bare.yaml")
	if err := os.WriteFile(without, bare, 0o600); err != nil {
		t.Fatal(err)
	}
	none := func(string) (string, bool) { return "", false }
	defaults, err := config.Load(without, none, providers.All)
	if err != nil {
		t.Fatal(err)
	}
	budget := regexp.MustCompile(`(?m)^ +budget:\n( +(rate|burst|concurrency): \d+\n)+`)
	unturned, _ := load(t, nil)
	got, want := budget.ReplaceAllString(unturned.Redacted(), ""), budget.ReplaceAllString(defaults.Redacted(), "")
	if got != want {
		t.Errorf("fallbacks differ from the defaults:\n%s\n%s", got, want)
	}
}

func TestDemoTellsOnlyWhatTheProvidersCanSay(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	for _, l := range stories() {
		told[l.provider] = true
		p, ok := providers.All.Get(l.provider)
		if !ok {
			t.Errorf("there is no provider %s", l.provider)
			continue
		}
		for _, s := range l.steps {
			if !knows(p, l.unit, s) {
				t.Errorf("%s has no word %v", l.provider, s.Status)
			}
		}
	}
	for _, p := range providers.All {
		if !told[p.Name] {
			t.Errorf("no story is about %s", p.Name)
		}
	}
}

func knows(p provider.Provider, unit string, s step) bool {
	word, isText := s.Status.(string)
	if n, ok := s.Status.(int); ok && !isText {
		word = string(rune('0' + n)) // The demo uses the one-digit ones.
	}
	for kind, words := range p.Vocabulary {
		if _, ok := words[word]; ok && (kind == order.Authentication) == (unit == "authentications") {
			return true
		}
	}
	return false
}

func TestDemoTellsEachLifeInOrderUnderItsOwnID(t *testing.T) {
	t.Parallel()
	d := newDemo("", time.Second, time.UnixMilli(1), zap.NewNop())
	lives := map[string][]any{}
	var ids []string
	for range 200 {
		l, id, s := d.next()
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		if s.Order != id || !s.Notify {
			t.Fatalf("step of %s is %+v", id, s)
		}
		lives[id] = append(lives[id], s.Status)
		want := stories()[slices.Index(ids, id)%len(stories())]
		n := len(lives[id])
		if want.provider != l.provider || n > len(want.steps) || lives[id][n-1] != want.steps[n-1].Status {
			t.Fatalf("step %d of %s is %v of %s, want the story of %s", n, id, s.Status, l.provider, want.provider)
		}
	}
	if len(ids) < 2*len(stories()) {
		t.Errorf("only %d lives began", len(ids))
	}
}

func TestSwitchesAreReadStrictly(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{"": time.Second, "on": time.Second, "off": 0, "200ms": 200 * time.Millisecond} {
		if got, err := ParseDemo(value); err != nil || got != want {
			t.Errorf("DEMO=%q is %v, %v; want %v", value, got, err, want)
		}
	}
	for _, value := range []string{"no", "0s", "-1s", "1"} {
		if got, err := ParseDemo(value); err == nil {
			t.Errorf("DEMO=%q is taken as %v", value, got)
		}
	}
	got, err := ParseRoles(" normalize,gateway,gateway")
	if err != nil || !slices.Equal(got, []string{Gateway, Normalize}) {
		t.Errorf("roles %v, %v; want them once and in the order of the flow", got, err)
	}
	if got, err := ParseRoles("gatway"); err == nil {
		t.Errorf("an unknown role is taken as %v", got)
	}
}
