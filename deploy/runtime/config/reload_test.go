package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// reloadText has a secret in a file, and one line for each part that matters to a reload.
const reloadText = `profile: local
hash_key: {file: hash}
nats: {url: "nats://127.0.0.1:4222"}
gateway: {limit: {rate: 5}, body_limit: 2KiB}
lookup: {concurrency: 3, rate_limit: {rate: 5}}
normalize: {concurrency: 4}
sweep: {every: 2s}
expect: {http_token: token-of-a-test}
providers:
  alpha:
    accounts:
      default: {webhook_secrets: [{file: hook}], settings: {base_url: "http://a.test", token: {file: token}}}
`

// reloaded loads reloadText for a role, changes the files, and loads it again.
func reloaded(t *testing.T, role string, change func(dir string)) (before, after *Config) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"arauto.yaml": reloadText, "hash": "a key for tests only, 32 bytes..", "hook": "hook-secret\n", "token": "token-secret",
	} {
		testbench.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	before, err := Load(filepath.Join(dir, "arauto.yaml"), func(string) (string, bool) { return "", false }, known, role)
	testbench.Must(t, err)
	if before.Changed() {
		t.Error("files that are as they were have changed")
	}
	change(dir)
	after, err = before.Again()
	testbench.Must(t, err)
	return before, after
}

// edit replaces a text of a file in a folder.
func edit(t *testing.T, file, old, instead string) func(dir string) {
	return func(dir string) {
		path := filepath.Join(dir, file)
		data, err := os.ReadFile(path)
		testbench.Must(t, err)
		if !strings.Contains(string(data), old) {
			t.Errorf("%s lacks %q", file, old)
		}
		testbench.Must(t, os.WriteFile(path, []byte(strings.Replace(string(data), old, instead, 1)), 0o600))
	}
}

func TestKeysThatARunningRoleCannotChange(t *testing.T) {
	t.Parallel()
	all := []string{RoleGateway, RoleLookup, RoleNormalize, RoleSweep, RoleExpect, RoleConsole}
	for name, c := range map[string]struct {
		file, old, new string
		key            string
		needs          []string // The roles that must be restarted.
	}{
		"broker":          {"arauto.yaml", "4222", "4223", "nats.url", all},
		"hash key":        {"hash", "a key", "another key", "hash_key", all},
		"time":            {"arauto.yaml", "profile: local", "profile: local\ntime_scale: 2", "time_scale", all},
		"body limit":      {"arauto.yaml", "2KiB", "3KiB", "gateway.body_limit", []string{RoleGateway}},
		"concurrency":     {"arauto.yaml", "concurrency: 3", "concurrency: 2", "lookup.concurrency", []string{RoleLookup}},
		"removal":         {"arauto.yaml", "every: 2s", "every: 2s, remove_after: 10000h", "sweep.remove_after", []string{RoleNormalize, RoleSweep}},
		"gateway's limit": {"arauto.yaml", "limit: {rate: 5}", "limit: {rate: 6}", "gateway.limit.rate", nil},
		"look-up rate":    {"arauto.yaml", "rate_limit: {rate: 5}", "rate_limit: {rate: 6}", "lookup.rate_limit.rate", nil},
		"bearer token":    {"arauto.yaml", "token-of-a-test", "another-of-a-test", "expect.http_token", nil},
		"account":         {"arauto.yaml", "      default:", "      acme: {webhook_secrets: [other], settings: {base_url: \"http://a.test\", token: t}}\n      default:", "providers.alpha.accounts.acme", nil},
	} {
		for _, role := range all {
			t.Run(name+" of "+role, func(t *testing.T) {
				t.Parallel()
				before, after := reloaded(t, role, edit(t, c.file, c.old, c.new))
				if !before.Changed() || after.Changed() || before.Same(after) {
					t.Error("the change is not seen, or seen twice")
				}
				if got := after.Differences(before); !slices.Contains(got, c.key) {
					t.Errorf("different are %v, want %s", got, c.key)
				}
				err := after.Replaces(before, role)
				says := fmt.Sprintf("%s: differs from what the running %s uses, and cannot change while it runs; restart %[2]s to change it", c.key, role)
				switch needs := slices.Contains(c.needs, role); {
				case needs && (err == nil || !strings.Contains(err.Error(), says)):
					t.Errorf("error is %v, want %s", err, says)
				case !needs && err != nil:
					t.Errorf("error is %v", err)
				}
			})
		}
	}
}

// What a role resolves later is what was checked, whatever the files hold then.
func TestSecretsStayAsTheyWereLoaded(t *testing.T) {
	t.Parallel()
	before, after := reloaded(t, RoleGateway, edit(t, "hook", "hook-secret", "hook-other"))
	for want, c := range map[string]*Config{"hook-secret": before, "hook-other": after} {
		g, err := c.Gateway()
		testbench.Must(t, err)
		if got := g.Credentials("alpha")["default"]; !slices.Equal(got, []string{want}) {
			t.Errorf("credentials are %q, want %q", got, want)
		}
	}
	if got := after.Differences(before); !slices.Equal(got, []string{"providers.alpha.accounts.default.webhook_secrets[0]"}) {
		t.Errorf("different are %v", got)
	}
}

// A role does not look at the secret files of others, which it may not be able to read.
func TestSecretOfAnotherRoleIsNoChange(t *testing.T) {
	t.Parallel()
	before, _ := reloaded(t, RoleGateway, edit(t, "token", "token-secret", "token-other"))
	if before.Changed() {
		t.Error("the gateway sees the look-up credential")
	}
}
