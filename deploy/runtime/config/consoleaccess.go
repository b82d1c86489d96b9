package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/textproto"
	"regexp"
	"slices"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The words of console.access.mode.
const (
	AccessOff   = "off"   // No log-in: each client that reaches the console reads, and none acts.
	AccessUsers = "users" // Persons log in with a password.
	AccessProxy = "proxy" // A proxy before the console names the person.
)

// The words of a person's role in the console.
const (
	ConsoleReader   = "reader"
	ConsoleOperator = "operator"
)

// ConsoleAccess says who may use the console.
type ConsoleAccess struct {
	Mode string `yaml:"mode"` // off, users or proxy. Default off, which only a loopback address may have.

	Users        map[string]ConsoleUser `yaml:"users,omitempty"`           // By name, with mode users.
	WithoutLogin string                 `yaml:"without_login"`             // reader: pages may be read without a log-in, on a loopback address only. Default "": nothing.
	Idle         time.Duration          `yaml:"idle" within:"1m 24h"`      // A session without a request ends after it. Default 30 min.
	Lifetime     time.Duration          `yaml:"lifetime" within:"1m 168h"` // A session ends after it. Default 12 h.
	Header       string                 `yaml:"header"`                    // Of the proxy, with the person's name in it, with mode proxy.
	Operators    []string               `yaml:"operators,omitempty"`       // The names in it that may act.
	Readers      []string               `yaml:"readers,omitempty"`         // The names in it that may read, "*" for every other name.
	Proxies      []string               `yaml:"trusted_proxies,omitempty"` // Networks of the proxies before the console. Their header counts with mode proxy, and their X-Forwarded-For always.
}

// ConsoleUser is a person with a password.
type ConsoleUser struct {
	Password reference `yaml:"password_hash,omitempty"` // By bcrypt, as `arauto password` prints it.
	Role     string    `yaml:"role"`                    // reader or operator.

	Hash Secret `yaml:"-"` // The hash of the password.
}

// personName is that of workers/console/access: AUDIT has these names, so that an e-mail
// address is none.
var personName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

const nameAdvice = " is no name of a person; write 1 to 64 of a-z, 0-9, dot, _ and -, and no e-mail address, because AUDIT keeps it"

// Costs of a password's hash: below the first one guessing is cheap, above the second one a
// log-in takes several seconds.
const (
	leastCost = 10
	mostCost  = 14
)

func (k *checks) checkConsoleAccess(c Console) {
	const at = "console.access"
	a := c.Access
	k.oneWord("console.plaintext", c.Plaintext, behindTLSProxy)
	host, _, err := net.SplitHostPort(c.Listen)
	here := err != nil || loopback(host)
	proxied := c.Plaintext != ""
	if !here && !proxied && !k.Local() {
		k.refuse("console.listen", "serves plain HTTP to other hosts; write console.plaintext: "+behindTLSProxy+" where a proxy does TLS, or listen on 127.0.0.1")
	}
	if (!here || proxied) && len(c.Hosts) == 0 {
		k.refuse("console.hosts", "is missing; write the host names in the address by which browsers reach the console, without https:// and without a port")
	}
	for i, name := range c.Hosts {
		if !hostName.MatchString(name) {
			k.refuse(fmt.Sprintf("console.hosts[%d]", i), "is no host name; write it without https:// and without a port, such as console.example.com")
		}
	}
	k.oneOf(at+".mode", a.Mode, "a mode", []string{AccessOff, AccessUsers, AccessProxy})
	if a.WithoutLogin != "" {
		k.oneOf(at+".without_login", a.WithoutLogin, "known", []string{ConsoleReader})
	}
	if a.Lifetime < a.Idle {
		k.refuse(at+".lifetime", "is shorter than console.access.idle; write "+a.Idle.String()+" or more")
	}
	switch {
	case a.Mode == AccessOff && (!here || proxied):
		k.refuse(at+".mode", "off lets each client that reaches the address read; write users or proxy, or listen on 127.0.0.1 without console.plaintext")
	case a.WithoutLogin != "" && (!here || proxied):
		k.refuse(at+".without_login", "lets each client that reaches the address read; remove it, or listen on 127.0.0.1 without console.plaintext")
	}
	k.checkUsers(at+".users", a)
	k.checkProxy(at, a)
}

// hostName is a name or an address of IPv4 or IPv6 without brackets.
var hostName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$`)

func (k *checks) checkUsers(at string, a ConsoleAccess) {
	if a.Mode == AccessUsers && len(a.Users) == 0 {
		k.refuse(at, "is missing, so no person could log in; write a name with password_hash and role below it")
	}
	for _, name := range slices.Sorted(maps.Keys(a.Users)) {
		own, u := at+"."+name, a.Users[name]
		if !personName.MatchString(name) {
			k.refuse(own, shown(name)+nameAdvice)
		}
		k.oneOf(own+".role", u.Role, "a role", []string{ConsoleReader, ConsoleOperator})
		if u.Password.IsZero() {
			k.refuse(own, "has no password_hash; write password_hash: ${NAME} with what `arauto password` prints")
		}
		k.checkSecret(u.Password)
	}
}

func (k *checks) checkProxy(at string, a ConsoleAccess) {
	if a.Mode == AccessProxy {
		if a.Header == "" || textproto.CanonicalMIMEHeaderKey(a.Header) == "" {
			k.refuse(at+".header", "is missing; write the header in which the proxy names the person, such as X-Forwarded-Preferred-Username")
		}
		if len(a.Proxies) == 0 {
			k.refuse(at+".trusted_proxies", "is missing; write the networks of the proxies whose header counts, such as 10.1.2.3/32")
		}
		if len(a.Operators)+len(a.Readers) == 0 {
			k.refuse(at+".readers", "and operators are missing, so no person could read; write names, or readers: [\"*\"] for each person whom the proxy names")
		}
	}
	for i, network := range a.Proxies {
		if _, err := netip.ParsePrefix(network); err != nil {
			k.refuse(fmt.Sprintf("%s.trusted_proxies[%d]", at, i), "is no network; write an address with the length of its prefix, such as 10.1.2.3/32")
		}
	}
	for i, name := range a.Operators {
		if !personName.MatchString(name) {
			k.refuse(fmt.Sprintf("%s.operators[%d]", at, i), shown(name)+nameAdvice)
		}
	}
	for i, name := range a.Readers {
		if name != "*" && !personName.MatchString(name) {
			k.refuse(fmt.Sprintf("%s.readers[%d]", at, i), shown(name)+nameAdvice)
		}
	}
}

// consoleAccess resolves the hashes of the passwords.
func (k *checks) consoleAccess(a ConsoleAccess) ConsoleAccess {
	users := make(map[string]ConsoleUser, len(a.Users))
	for name, u := range a.Users {
		if value, ok := k.resolve(u.Password); ok && a.Mode == AccessUsers {
			k.wrong(u.Password.path, k.hashWrong(value))
			u.Hash = NewSecret(value)
		}
		users[name] = u
	}
	a.Users = users
	return a
}

func (c *Config) hashWrong(hash string) string {
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil:
		return "is no hash by bcrypt; write what `arauto password` prints, in single quotes where a $ would be replaced"
	case c.Local():
		return ""
	}
	return between(cost, leastCost, mostCost)
}
