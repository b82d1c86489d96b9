package supervise

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/bcrypt"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/testbench"
	"arauto/schemas/providers"
)

func load(t *testing.T, env map[string]string) (*config.Config, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "arauto.yaml")
	testbench.Must(t, writeSettings(file, DefaultAddresses(), "http://127.0.0.1:8222"))
	lookup := func(name string) (string, bool) { value, ok := env[name]; return value, ok }
	cfg, err := config.Load(file, lookup, providers.All, Gateway, Lookup, Normalize, Sweep, Expect)
	if err != nil {
		t.Fatalf("the written configuration is refused: %v", err)
	}
	return cfg, file
}

func TestLocalConfigurationHasEveryProviderWithBothAccounts(t *testing.T) {
	t.Parallel()
	cfg, _ := load(t, nil)
	gateway, err := cfg.Gateway()
	testbench.Must(t, err)
	lookup, err := cfg.Lookup()
	testbench.Must(t, err)
	for _, p := range providers.All {
		credentials := gateway.Credentials(p.Name)
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
	cfg, file := load(t, map[string]string{"LOOKUP_CONCURRENCY": "4", "NORMALIZE_CONCURRENCY": "5", "GATEWAY_PUBLISH_TIMEOUT": "300ms"})
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
		t.Errorf("error %v, publish timeout %v, want 300ms", err, gateway.PublishTimeout)
	}

	// The fallbacks in the file are the defaults of the code, so that local
	// runs show what production would do.
	text, err := os.ReadFile(file)
	testbench.Must(t, err)
	bare := regexp.MustCompile(`(?m)^ +[a-z_]+: \$\{[A-Z_]+:-.*\n`).ReplaceAll(text, nil)
	if len(bare) == len(text) {
		t.Fatal("the file has no number that can be turned")
	}
	without := filepath.Join(t.TempDir(), "bare.yaml")
	testbench.Must(t, os.WriteFile(without, bare, 0o600))
	none := func(string) (string, bool) { return "", false }
	defaults, err := config.Load(without, none, providers.All)
	testbench.Must(t, err)
	unturned, _ := load(t, nil)
	// The local file has a token for the HTTP routes of expect; by default there are none.
	got, want := strings.Replace(unturned.Redacted(), "    http_token: '***'\n", "", 1), defaults.Redacted()
	if got != want {
		t.Errorf("fallbacks differ from the defaults:\n%s\n%s", got, want)
	}
}

func TestDemoTellsOfEveryProvider(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	for _, l := range stories() {
		told[l.provider] = true
	}
	if len(told) != len(providers.All) {
		t.Errorf("stories are about %v", told)
	}
}

func TestDemoTellsEachLifeInOrderUnderItsOwnID(t *testing.T) {
	t.Parallel()
	type step struct {
		Status, Order string
		Notify        bool
	}
	type made struct {
		path string
		step step
	}
	heard := make(chan made)
	simulator := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		m := made{path: r.Method + " " + r.URL.Path}
		if err := json.NewDecoder(r.Body).Decode(&m.step); err != nil {
			t.Error(err)
		}
		select {
		case heard <- m:
		case <-r.Context().Done():
		}
	}))
	defer simulator.Close()
	s := &supervisor{Options: Options{DemoEvery: time.Millisecond}, log: zap.NewNop()}
	s.Addresses.Simulator = simulator.Listener.Addr().String()
	ctx, cancel := context.WithCancel(testbench.Context(t))
	var telling sync.WaitGroup
	telling.Go(func() { s.demo(ctx) })
	lives := map[string][]step{}
	for range 200 {
		m := <-heard
		id := path.Base(m.path)
		number, err := strconv.Atoi(id[strings.LastIndex(id, "-")+1:])
		testbench.Must(t, err)
		lives[id] = append(lives[id], m.step)
		want, n := stories()[number%len(stories())], len(lives[id])
		if on := fmt.Sprintf("PUT /_sim/%s/%s/%s/%s", want.provider, want.account, want.unit, id); m.path != on {
			t.Errorf("step %d of %s is a %s, want %s", n, id, m.path, on)
		}
		if m.step.Order != id || !m.step.Notify || n > len(want.steps) || m.step.Status != want.steps[n-1].Word {
			t.Errorf("step %d of %s is %+v, want the story %+v", n, id, m.step, want)
		}
	}
	cancel()
	telling.Wait()
	if len(lives) < 2*len(stories()) {
		t.Errorf("only %d lives began", len(lives))
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

func TestBannerSaysHowToActOnThePages(t *testing.T) {
	t.Parallel()
	shown := func(env []string, roles ...string) string {
		var screened bytes.Buffer
		s := &supervisor{Options: Options{Dir: "data", Addresses: DefaultAddresses(), Env: env, Roles: roles}, screen: &screen{to: &screened}}
		s.banner()
		return screened.String()
	}
	public := fmt.Sprintf("log in there as operator with the password %q\n", localPassword)
	if text := shown(nil, Roles()...); !strings.Contains(text, public) {
		t.Errorf("the banner lacks %q:\n%s", public, text)
	}
	if text := shown([]string{"CONSOLE_PASSWORD_HASH=of another"}, Roles()...); strings.Contains(text, localPassword) || !strings.Contains(text, "the password of CONSOLE_PASSWORD_HASH\n") {
		t.Errorf("with another password the banner is\n%s", text)
	}
	if text := shown(nil, Gateway); strings.Contains(text, "operator") {
		t.Errorf("without the console the banner is\n%s", text)
	}
	file := filepath.Join(t.TempDir(), "arauto.yaml")
	testbench.Must(t, writeSettings(file, DefaultAddresses(), "http://127.0.0.1:8222"))
	cfg, err := config.Load(file, func(string) (string, bool) { return "", false }, providers.All, Console)
	testbench.Must(t, err)
	console, err := cfg.Console()
	testbench.Must(t, err)
	testbench.Must(t, bcrypt.CompareHashAndPassword([]byte(console.Access.Users["operator"].Hash.Reveal()), []byte(localPassword)))
}
