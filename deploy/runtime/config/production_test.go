package config

import (
	"strings"
	"testing"
)

// unsafe are configurations that production refuses and profile local takes,
// each with what the refusal says. FILE stands for the path.
func unsafe() map[string]struct{ text, role, want string } {
	const head = "hash_key: ${HASH}\n"
	broker := func(keys string) string {
		return head + "nats: {user: me, password: '${ONE}', " + keys + "}\n"
	}
	alpha := func(secrets string) string {
		return head + "providers: {alpha: {accounts: {default: {webhook_secrets: [" + secrets + "]}}}}\n"
	}
	setting := func(url string) string {
		return head + "providers: {alpha: {accounts: {default: {settings: {token: '${ONE}', base_url: \"" + url + "\"}}}}}\n"
	}
	const (
		password = `FILE:2: nats.url: sends nats.password to another host in plain text; write tls://, or nats.plaintext: private-network where only the broker and its clients are on that network`
		public   = `FILE:2: gateway.listen: serves plain HTTP to other hosts; write gateway.tls, or gateway.plaintext: behind-tls-proxy where a proxy does TLS, or listen on 127.0.0.1`
		query    = `FILE:2: providers.alpha.accounts.default.settings.base_url: carries a query or fragment; write the URL without ? and #`
		first    = `FILE:2: providers.alpha.accounts.default.webhook_secrets[0]: `
	)
	return map[string]struct{ text, role, want string }{
		"password to another host":            {broker(`url: "nats://broker:4222"`), "", password},
		"password to one other host of two":   {broker(`url: "tls://one:4222, nats://two:4222"`), "", password},
		"password over plain web sockets":     {broker(`url: "ws://10.0.0.1:8080"`), "", password},
		"plain HTTP on every interface":       {head + "gateway: {listen: ':8080'}\n", "", public},
		"plain HTTP on every IPv4 interface":  {head + "gateway: {listen: '0.0.0.0:8080'}\n", "", public},
		"plain HTTP on a public name":         {head + "gateway: {listen: 'hooks.example.com:80'}\n", "", public},
		"plain HTTP on an IPv6 address":       {head + "gateway: {listen: '[2001:db8::1]:80'}\n", "", public},
		"hash key of 31 bytes":                {"hash_key: ${BYTES31}\n", RoleSweep, `FILE:1: hash_key: has fewer than 32 bytes; use 32 random ones and never change them`},
		"hash key of one character":           {"hash_key: ${SAME}\n", RoleLookup, `FILE:1: hash_key: has fewer than 5 different characters; use 32 random bytes and never change them`},
		"webhook secret of 15 bytes":          {alpha("'${SHORT}'"), RoleGateway, first + `has fewer than 16 bytes; use 32 random ones`},
		"webhook secret of one character":     {alpha("'${SAME}'"), RoleGateway, first + `has fewer than 5 different characters; use 32 random bytes`},
		"webhook secret that is the nil UUID": {alpha("'${NIL}'"), RoleGateway, first + `has fewer than 5 different characters; use 32 random bytes`},
		"second webhook secret of 15 bytes":   {alpha("'${ONE}', '${SHORT}'"), RoleGateway, strings.Replace(first, "[0]", "[1]", 1) + `has fewer than 16 bytes; use 32 random ones`},
		"query in a base URL":                 {setting("https://a.example/v1?key=canary"), RoleLookup, query},
		"empty query in a base URL":           {setting("https://a.example/v1?"), RoleLookup, query},
		"fragment in a base URL":              {setting("https://a.example/v1#canary"), RoleLookup, query},
		"empty fragment in a base URL":        {setting("https://a.example/v1#"), RoleLookup, query},
		"query in a base URL from a variable": {setting("${QUERY}"), RoleLookup, query},
		"path key of four different characters": {
			head + "providers: {bravo: {accounts: {default: {path_keys: ['${FOUR}']}}}}\n", RoleGateway,
			`FILE:2: providers.bravo.accounts.default.path_keys[0]: has fewer than 5 different characters; use 32 random bytes`,
		},
		"one secret for accounts of two providers": {
			head + "providers:\n  alpha: {accounts: {default: {webhook_secrets: ['${TWO}', '${ONE}']}}}\n  bravo: {accounts: {other: {path_keys: ['${ONE}']}}}\n", RoleGateway,
			`FILE:4: providers.bravo.accounts.other.path_keys[0]: is a secret of account default of alpha too; give each account its own`,
		},
	}
}

// weakValues are the variables of unsafe.
var weakValues = []string{
	"BYTES31", "0123456789abcdef0123456789abcde", "SAME", strings.Repeat("x", 64), "FOUR", "abcdabcdabcdabcdabcdabcdabcdabcd",
	"NIL", "00000000-0000-0000-0000-000000000000", "QUERY", "https://a.example/v1?key=canary",
}

func TestProductionRefusesWhatIsUnsafe(t *testing.T) {
	t.Parallel()
	for name, c := range unsafe() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, c.text)
			_, err := Load(path, environment(weakValues...), known, c.role)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if got := strings.ReplaceAll(err.Error(), path, "FILE"); got != c.want {
				t.Errorf("it says\n%s\nwant\n%s", err, c.want)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("it shows what may be a secret: %s", err)
			}
			if _, err := Load(write(t, c.text+"profile: local\n"), environment(weakValues...), known, c.role); err != nil {
				t.Errorf("profile local refuses it: %v", err)
			}
		})
	}
}

func TestUnsafeThingsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	path := write(t, `hash_key: ${SAME}
nats: {url: "nats://broker:4222", user: me, password: "${ONE}"}
gateway:
  listen: 0.0.0.0:8080
providers:
  alpha:
    accounts:
      default:
        webhook_secrets: ["${SHORT}"]
        settings: {token: "${ONE}", base_url: "${QUERY}"}
      other:
        webhook_secrets: ["${SHORT}"]
        settings: {token: "${ONE}", base_url: "https://b.example"}
`)
	_, err := Load(path, environment(weakValues...), known, RoleGateway, RoleLookup)
	want := strings.ReplaceAll(`FILE:1: hash_key: has fewer than 5 different characters; use 32 random bytes and never change them
FILE:2: nats.url: sends nats.password to another host in plain text; write tls://, or nats.plaintext: private-network where only the broker and its clients are on that network
FILE:4: gateway.listen: serves plain HTTP to other hosts; write gateway.tls, or gateway.plaintext: behind-tls-proxy where a proxy does TLS, or listen on 127.0.0.1
FILE:9: providers.alpha.accounts.default.webhook_secrets[0]: has fewer than 16 bytes; use 32 random ones
FILE:10: providers.alpha.accounts.default.settings.base_url: carries a query or fragment; write the URL without ? and #
FILE:12: providers.alpha.accounts.other.webhook_secrets[0]: has fewer than 16 bytes; use 32 random ones
FILE:12: providers.alpha.accounts.other.webhook_secrets[0]: is a secret of account default too; give each account its own`, "FILE", path)
	if err == nil || err.Error() != want {
		t.Errorf("it says\n%v\nwant\n%s", err, want)
	}
}

func TestProductionTakesPlainTextThatIsSafe(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"nats: {url: 'tls://broker:4222', user: me, password: '${ONE}'}\n",
		"nats: {url: 'wss://broker:4222', user: me, password: '${ONE}'}\n",
		"nats: {url: 'nats://127.0.0.1:4222, nats://localhost:4223, ws://[::1]:80', user: me, password: '${ONE}'}\n",
		"nats: {url: 'nats://broker:4222', user: me, password: '${ONE}', plaintext: private-network}\n",
		"nats: {url: 'nats://broker:4222', user: me, password: '${ONE}', plaintext: '${WHY:-private-network}'}\n",
		"nats: {url: 'nats://broker:4222', user: me, password: '${ONE}', ca_file: arauto.yaml}\n", // Then the client insists on TLS.
		"nats: {url: 'nats://broker:4222'}\n",
		"gateway: {listen: '127.0.0.1:8080'}\n",
		"gateway: {listen: 'localhost:8080'}\n",
		"gateway: {listen: '[::1]:8080'}\n",
		"gateway: {listen: ':8080', plaintext: behind-tls-proxy}\n",
		"gateway: {listen: ':8443', tls: {certificate: tls.crt, key: tls.key}}\n",
	} {
		if _, err := Load(write(t, text), environment(), known); err != nil {
			t.Errorf("%s is refused: %v", text, err)
		}
	}
}

func TestPlainTextNeedsTheVeryWord(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"nats: {plaintext: yes}\n":                  `nats.plaintext: "yes" is not known; write private-network, or remove the key`,
		"gateway: {plaintext: private-network}\n":   `gateway.plaintext: "private-network" is not known; write behind-tls-proxy, or remove the key`,
		"gateway: {plaintext: '${ONE}'}\n":          `gateway.plaintext: the value of ONE is not known; write behind-tls-proxy, or remove the key`,
		"profile: local\nnats: {plaintext: true}\n": `nats.plaintext: "true" is not known; write private-network, or remove the key`,
	} {
		if _, err := Load(write(t, text), environment(), known); err == nil || !strings.HasSuffix(err.Error(), ": "+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s gives %v, want %s", text, err, want)
		}
	}
}

// TestOnlyTheRoleThatReadsSecretsJudgesThem: lookup never sees path keys,
// so it starts although two accounts have the same weak one.
func TestOnlyTheRoleThatReadsSecretsJudgesThem(t *testing.T) {
	t.Parallel()
	text := "hash_key: ${HASH}\nproviders: {bravo: {accounts: {a: {path_keys: ['${SHORT}']}, b: {path_keys: ['${SHORT}']}}}}\n"
	for role, refused := range map[string]bool{RoleGateway: true, RoleLookup: false, RoleNormalize: false, RoleSweep: false, "": false} {
		if _, err := Load(write(t, text), environment(), known, role); (err != nil) != refused {
			t.Errorf("role %q: %v", role, err)
		}
	}
}
