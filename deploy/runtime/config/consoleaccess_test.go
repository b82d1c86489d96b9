package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// hashOfCost10 and the next are hashes of passwords that nothing uses.
const (
	hashOfCost10 = "$2a$10$7EqJtq98hPqEX7fNZaFWoOhi5TzRyX0nqA5Yx6rGZkFZ8cWxo0vzy"
	hashOfCost4  = "$2a$04$7EqJtq98hPqEX7fNZaFWoOhi5TzRyX0nqA5Yx6rGZkFZ8cWxo0vzy"
)

func consoleFile(section string) string { return "hash_key: ${HASH}\nconsole: {" + section + "}\n" }

func TestConsoleAccessIsUnderstoodAndRedacted(t *testing.T) {
	t.Parallel()
	env := environment("MARIA", hashOfCost10)
	text := consoleFile(`listen: "0.0.0.0:8070", plaintext: behind-tls-proxy, hosts: [console.example.com, "::1", 10.1.2.3], access: {mode: users, idle: 5m, lifetime: 1h,
  trusted_proxies: ["10.0.0.0/8", "fd00::/8"], users: {maria: {password_hash: "${MARIA}", role: operator}}}`)
	c, err := parse("f.yaml", []byte(text), env, known, RoleConsole)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Console()
	if err != nil {
		t.Fatal(err)
	}
	a := got.Access
	if a.Users["maria"].Hash.Reveal() != hashOfCost10 || a.Users["maria"].Role != ConsoleOperator || a.Idle != 5*time.Minute || a.Lifetime != time.Hour ||
		!reflect.DeepEqual(a.Proxies, []string{"10.0.0.0/8", "fd00::/8"}) {
		t.Errorf("the section is %+v", a)
	}
	if strings.Contains(c.Redacted(), hashOfCost10) {
		t.Errorf("the hash is shown:\n%s", c.Redacted())
	}
	// The other roles do not need the hash.
	if _, err := parse("f.yaml", []byte(text), environment(), known, RoleSweep); err != nil {
		t.Error(err)
	}
}

func TestUnsafeConsoleAccessIsRefused(t *testing.T) {
	t.Parallel()
	env := environment("MARIA", hashOfCost10, "CHEAP", hashOfCost4, "PLAIN", "a-password-and-no-hash")
	const proxy = `mode: proxy, header: X-User, trusted_proxies: [10.0.0.1/32], readers: ["*"]`
	for section, wrong := range map[string]string{
		`listen: ":8070"`: "console.access.mode: off lets each client",
		`listen: "10.1.2.3:8070", access: {` + proxy + `}`:                                             "console.listen: serves plain HTTP to other hosts",
		`plaintext: behind-tls-proxy, access: {` + proxy + `}`:                                         "console.hosts: is missing",
		`plaintext: behind-tls-proxy, hosts: [a.example]`:                                              "console.access.mode: off lets each client",
		`hosts: ["https://a.example"]`:                                                                 "console.hosts[0]: is no host name",
		`hosts: ["a.example:443"]`:                                                                     "console.hosts[0]: is no host name",
		`access: {mode: on}`:                                                                           `"on" is not a mode; write off instead (known: off, users, proxy)`,
		`access: {mode: users}`:                                                                        "no person could log in",
		`access: {without_login: operator}`:                                                            "console.access.without_login: \"operator\" is not known",
		`access: {idle: 2h, lifetime: 1h}`:                                                             "console.access.lifetime: is shorter",
		`access: {mode: users, users: {maria: {role: operator}}}`:                                      "console.access.users.maria: has no password_hash",
		`access: {mode: users, users: {maria: {password_hash: "${MARIA}", role: admin}}}`:              `console.access.users.maria.role: "admin" is not a role`,
		`access: {mode: users, users: {maria: {password_hash: "${CHEAP}", role: reader}}}`:             "4 is out of range; write a value from 10 to 14",
		`access: {mode: users, users: {maria: {password_hash: "${PLAIN}", role: reader}}}`:             "is no hash by bcrypt",
		`access: {mode: users, users: {maria: {password_hash: "${NOT_THERE}", role: reader}}}`:         "NOT_THERE is not set",
		`access: {mode: users, users: {maria: {password_hash: "` + hashOfCost10 + `", role: reader}}}`: "a secret must not stand in this file",
		`access: {mode: users, users: {m@example.com: {password_hash: "${MARIA}", role: reader}}}`:     "is no name of a person",
		`access: {mode: proxy, trusted_proxies: [10.0.0.1/32], readers: [a]}`:                          "console.access.header: is missing",
		`access: {mode: proxy, header: X-User, readers: [a]}`:                                          "console.access.trusted_proxies: is missing",
		`access: {mode: proxy, header: X-User, trusted_proxies: [10.0.0.1/32]}`:                        "no person could read",
		`access: {mode: proxy, header: X-User, trusted_proxies: [10.0.0.1], readers: [a]}`:             "is no network",
		`access: {mode: proxy, header: X-User, trusted_proxies: [10.0.0.1/32], readers: ["a@b"]}`:      "console.access.readers[0]",
		`access: {mode: proxy, header: X-User, trusted_proxies: [10.0.0.1/32], operators: ["*"]}`:      "console.access.operators[0]",
		`listen: ":8070", plaintext: behind-tls-proxy, hosts: [a.example], access: {mode: users, without_login: reader, users: {maria: {password_hash: "${MARIA}", role: reader}}}`: "console.access.without_login: lets each client",
	} {
		_, err := parse("f.yaml", []byte(consoleFile(section)), env, known, RoleConsole)
		if err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v, want %q", section, err, wrong)
		}
		if err != nil && (strings.Contains(err.Error(), "a-password-and") || strings.Contains(err.Error(), hashOfCost10)) {
			t.Errorf("%s: a secret is shown: %v", section, err)
		}
	}
}
