package config

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/subject"
)

// known are two providers of the test's own: the configuration must not
// depend on which ones exist.
var known = provider.MustSet(
	provider.Provider{
		Name:       "alpha",
		Vocabulary: words,
		Verify:     provider.Static("authorization", "Bearer"),
		Read:       func(provider.Webhook) ([]provider.Notice, error) { return []provider.Notice{{}}, nil },
		Settings: []provider.Setting{
			{Name: "base_url", URL: true, Required: true, Help: "where it answers"},
			{Name: "token", Secret: true, Required: true, Help: "sent with look-ups"},
			{Name: "mode", Default: "fast"},
		},
		Payload: claim,
	},
	provider.Provider{
		Name:         "bravo",
		Vocabulary:   words,
		Unsigned:     "it was never taught to",
		RetryOffsets: []time.Duration{time.Hour, 12 * time.Hour},
		Read:         func(provider.Webhook) ([]provider.Notice, error) { return []provider.Notice{{}}, nil },
		Payload:      claim,
	},
)

var words = map[order.Kind]map[string]order.Status{order.Payment: {"paid": order.Paid}}

func claim(provider.Target) (order.Fact, error) { return order.Fact{}, nil }

// environment is a set of variables; a test adds its own.
func environment(more ...string) func(string) (string, bool) {
	all := map[string]string{"HASH": "0123456789abcdef0123456789abcdef", "ONE": "secret-one-of-alpha", "TWO": "secret-two-of-alpha", "EMPTY": "", "SHORT": "fifteen-letters"}
	for i := 0; i+1 < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return func(name string) (string, bool) {
		value, ok := all[name]
		return value, ok
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "arauto.yaml")
	testbench.Must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func load(t *testing.T, text string, roles ...string) *Config {
	t.Helper()
	c, err := Load(write(t, text), environment(), known, roles...)
	testbench.Must(t, err)
	return c
}

func TestWholeFileIsUnderstood(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/whole.yaml")
	testbench.Must(t, err)
	path := write(t, string(text))
	testbench.Must(t, os.WriteFile(filepath.Join(filepath.Dir(path), "token"), []byte("from-a-file\n"), 0o600))
	c, err := Load(path, environment("TIMEOUT", "650ms", "NATS_PASSWORD", "broker", "THREE", "secret-three-of-alpha", "KEY", "a-path-key-of-enough-bytes"), known, RoleGateway, RoleLookup, RoleNormalize, RoleSweep)
	testbench.Must(t, err)
	g, _ := c.Gateway()
	l, _ := c.Lookup()
	n, _ := c.Normalize()
	same(t, "publish timeout", g.PublishTimeout, 650*time.Millisecond)
	same(t, "body limit", g.BodyLimit, 64*kib)
	tokens, err := subject.Keyed("0123456789abcdef0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "hash key", g.Tokens, tokens)
	same(t, "webhook secrets", g.Credentials("alpha"), map[string][]string{"default": {"secret-one-of-alpha"}, "acme": {"secret-two-of-alpha", "secret-three-of-alpha"}})
	same(t, "path keys", g.Credentials("bravo"), map[string][]string{"default": {"a-path-key-of-enough-bytes"}})
	same(t, "no credentials of another", g.Credentials("charlie"), map[string][]string{})
	same(t, "enabled providers", l.Providers, []string{"alpha"})
	same(t, "accounts", l.Accounts("alpha"), map[string]provider.Account{
		"default": {Name: "default", Settings: map[string]string{"base_url": "https://alpha.example/api", "token": "from-a-file", "mode": "fast"}},
		"acme":    {Name: "acme", Settings: map[string]string{"base_url": "http://localhost:8090", "token": "secret-one-of-alpha", "mode": "slow"}},
	})
	same(t, "retry", l.Retry("alpha"), Retry{Policy: "bravo", Delays: []time.Duration{time.Second, time.Minute}})
	same(t, "accounts of one shop", c.SameShop("alpha", "default", "bravo", "default"), true)
	same(t, "accounts of two shops", c.SameShop("alpha", "default", "alpha", "acme"), false)
	same(t, "rate limit of the provider", l.RateLimit("alpha", "default"), RateLimit{Rate: 20, Burst: 5, Concurrency: 2})
	same(t, "rate limit of the account", l.RateLimit("alpha", "acme"), RateLimit{Rate: 7, Burst: 5, Concurrency: 3})
	same(t, "rate limit of all others", l.RateLimit("bravo", "default"), RateLimit{Rate: 20, Burst: 400, Concurrency: 32})
	same(t, "limits of the provider and of its account", g.Limits("alpha"), map[string]Limit{
		"default": {Rate: 20, Burst: 200, Bytes: 32 * mib}, "acme": {Rate: 5, Burst: 200, Bytes: mib},
	})
	same(t, "limit of all others", g.Limits("bravo"), map[string]Limit{"default": {Rate: 50, Bytes: 32 * mib}})
	same(t, "broker password", c.NATS().Password.Reveal(), "broker")
	same(t, "monitors", c.NATS().Monitors, []string{"http://one:8222", "http://two:8222"})
	same(t, "claim", c.Durability(), durability.ProcessKill|durability.PowerLoss|durability.NodeLoss)
	same(t, "topology", c.Topology(), topology.Settings{Replicas: 3, Store: int64(16 * gib), Providers: []string{"alpha", "bravo"}})
	tracing, _ := c.Tracing()
	same(t, "tracing", tracing, Tracing{Endpoint: "https://otel.example:4318/v1/traces", OneIn: 20, Headers: map[string]Secret{"authorization": NewSecret("secret-one-of-alpha")}})
	same(t, "normalize concurrency", n.Concurrency, 4)
	same(t, "deployment", n.Deployment, "shop-a")
	s, _ := c.Sweep()
	same(t, "sweep", []time.Duration{s.Every, s.Horizon, s.KeepNotifications, s.CompactAfter, s.RemoveAfter, n.RemoveAfter},
		[]time.Duration{30 * time.Second, 1000 * time.Hour, 24 * time.Hour, 500 * time.Hour, 2000 * time.Hour, 2000 * time.Hour})
	same(t, "hash keys of the other roles", []subject.Tokens{l.Tokens, n.Tokens, s.Tokens}, []subject.Tokens{tokens, tokens, tokens})
	same(t, "admin of sweep", c.Admin(RoleSweep), "127.0.0.1:9094")
	same(t, "admin", []string{c.Admin(RoleGateway), c.Admin(RoleLookup), c.Admin(RoleNormalize), c.Admin("other")},
		[]string{"127.0.0.1:9091", "127.0.0.1:9092", "127.0.0.1:19093", ""})
}

func TestOnlyAProviderWithAnAccountNeedsConsumers(t *testing.T) {
	t.Parallel()
	c := load(t, "profile: local\nproviders: {bravo: {accounts: {default: {path_keys: [key]}}}, alpha: {retry: bravo}}\n")
	if got := c.Topology(); !slices.Equal(got.Providers, []string{"bravo"}) || !slices.Equal(got.Others, []string{"alpha"}) {
		t.Errorf("the topology is for %v, and not for %v", got.Providers, got.Others)
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestDefaultsAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/defaults.yaml")
	testbench.Must(t, err)
	if got := load(t, "hash_key: ${HASH}\n").Redacted(); got != string(want) {
		t.Errorf("the defaults are\n%s\nbut testdata/defaults.yaml says\n%s", got, want)
	}
	load(t, strings.Replace(string(want), "hash_key: '***'", "hash_key: ${HASH}", 1)) // Every default lies within its bounds.
}

func TestRoleReadsOnlyItsOwnSecrets(t *testing.T) {
	t.Parallel()
	text := `hash_key: ${HASH}
tracing: {endpoint: "https://otel.example:4318/v1/traces", headers: {authorization: "${COLLECTOR}"}}
providers:
  alpha:
    accounts:
      default:
        webhook_secrets: ["${WEBHOOK}"]
        settings: {base_url: "${BASE}", token: "${TOKEN}"}
`
	needed := map[string][]string{
		RoleGateway:    {"WEBHOOK"},
		RoleLookup:     {"BASE", "TOKEN"},
		RoleNormalize:  nil,
		RoleSweep:      nil,
		SectionTracing: {"COLLECTOR"},
		"another":      nil,
	}
	for role, own := range needed {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			asked := map[string]bool{}
			_, err := Load(write(t, text), func(name string) (string, bool) {
				asked[name] = true
				return "https://an-account.example.com/v1/x", true
			}, known, role)
			if err != nil {
				t.Error(err)
			}
			delete(asked, "HASH")
			want := map[string]bool{}
			for _, name := range own {
				want[name] = true
			}
			if !maps.Equal(asked, want) {
				t.Errorf("role %s asked for %v, want %v", role, asked, want)
			}
		})
	}
}

func TestSectionWithoutKeysMeansDefaults(t *testing.T) {
	t.Parallel()
	c := load(t, "hash_key: ${HASH}\ngateway:\n  # listen: somewhere\nproviders:\nlookup: {providers: }\n")
	if g, err := c.Gateway(); err != nil || g.Listen != "127.0.0.1:8080" {
		t.Errorf("gateway is %v, %v", g, err)
	}
}

func TestEmptySecondSecretIsDropped(t *testing.T) {
	t.Parallel()
	for _, second := range []string{"${NEXT:-}", "${EMPTY:-}"} {
		c := load(t, "hash_key: ${HASH}\nproviders: {alpha: {accounts: {default: {webhook_secrets: ['${ONE}', '"+second+"']}}}}\n")
		g, err := c.Gateway()
		if got := g.Credentials("alpha")["default"]; err != nil || !reflect.DeepEqual(got, []string{"secret-one-of-alpha"}) {
			t.Errorf("with %s the secrets are %v, %v", second, got, err)
		}
	}
}

func TestLocalProfileTakesLiteralSecretsAndShortKeys(t *testing.T) {
	t.Parallel()
	c := load(t, `profile: local
hash_key: local-hash-key-0000
providers:
  alpha: {accounts: {default: {webhook_secrets: [short], settings: {base_url: "http://10.0.0.1", token: tok}}}}
  bravo: {accounts: {default: {path_keys: [bravo-key]}}}
`, RoleGateway, RoleLookup)
	g, err := c.Gateway()
	if err != nil || !c.Local() {
		t.Fatal(err)
	}
	same(t, "secrets", g.Credentials("alpha")["default"], []string{"short"})
	same(t, "keys", g.Credentials("bravo")["default"], []string{"bravo-key"})
}

func TestTurnedClockReachesTheRoleThatWaits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 1, "time_scale: 3600\n": 3600} {
		l, err := load(t, "profile: local\nhash_key: local-hash-key-0000\n"+text).Lookup()
		if err != nil || l.TimeScale != want {
			t.Errorf("with %q the time scale is %d, %v; want %d", text, l.TimeScale, err, want)
		}
	}
}

func TestLookupWithoutAProviderNeedsNoneOfItsSettings(t *testing.T) {
	t.Parallel()
	c := load(t, `hash_key: ${HASH}
lookup: {providers: [bravo]}
providers: {alpha: {accounts: {default: {webhook_secrets: ["${ONE}"], settings: {token: "${ABSENT}"}}}}}
`, RoleLookup)
	l, err := c.Lookup()
	if err != nil || len(l.Accounts("alpha")) != 0 {
		t.Errorf("accounts %v, %v", l.Accounts("alpha"), err)
	}
}

func TestOptionalSettingMayBeEmpty(t *testing.T) {
	t.Parallel()
	c := load(t, `hash_key: ${HASH}
providers: {alpha: {accounts: {default: {settings: {base_url: "https://a.example", token: "${ONE}", mode: "${MODE:-}"}}}}}
`)
	l, err := c.Lookup()
	if got := l.Accounts("alpha")["default"].Settings["mode"]; err != nil || got != "fast" {
		t.Errorf("mode is %q, %v; want the default", got, err)
	}
}

func TestSizeSurvivesBeingWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := Size(rapid.Int64Min(0).Draw(t, "bytes"))
		if got, wrong := size(s.String()); wrong != "" || got != s {
			t.Fatalf("%d became %s and then %d %s", s, s, got, wrong)
		}
	})
}

func TestNearestNameIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.StringMatching(`[a-z]{0,8}`).Draw(t, "a")
		b := rapid.StringMatching(`[a-z]{0,8}`).Draw(t, "b")
		if edits(a, b) != edits(b, a) || (edits(a, b) == 0) != (a == b) || edits(a, a+"x") != 1 {
			t.Fatalf("edits(%q, %q) is not a distance", a, b)
		}
	})
}

func TestAccountsAreNamedWithoutTheirSecrets(t *testing.T) {
	t.Parallel()
	c, err := Load(write(t, "hash_key: ${HASH}\nproviders:\n  alpha:\n    accounts:\n      two: {}\n      one: {settings: {token: \"${NOT_SET}\"}}\n"), environment(), known)
	testbench.Must(t, err)
	if got := c.AccountNames("alpha"); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("accounts are %v", got)
	}
	if got := c.AccountNames("bravo"); len(got) != 0 {
		t.Errorf("accounts of a provider that has none are %v", got)
	}
}

func TestNotificationsAreGoneBeforeTheirObservations(t *testing.T) {
	t.Parallel()
	for _, s := range topology.Streams(topology.Settings{}) {
		if s.Name == subject.Statuses && s.MaxAge != longestKept+day {
			t.Errorf("observations are kept for %v, finished notifications for up to %v", s.MaxAge, longestKept)
		}
	}
}
