package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
)

// The words of nats.plaintext and gateway.plaintext. Each says why plain text is
// safe there.
const (
	privateNetwork = "private-network"  // Only the broker and its own clients are on the network between them.
	behindTLSProxy = "behind-tls-proxy" // A proxy on the same machine or network ends TLS for the gateway.
)

// What production asks of secrets beside minKey. 16 random hexadecimal digits
// have fewer than five different ones less than once in a million times.
const (
	minHashKey  = 32 // Bytes of hash_key: it can never be changed, so it must last.
	minDistinct = 5  // Different bytes of any secret.
)

// checkPlaintext refuses connections without TLS to other hosts, unless the file
// says why they are safe. Profile local may have them.
func (k *checks) checkPlaintext(n natsSection, g Gateway) {
	k.oneWord("nats.plaintext", n.Plaintext, privateNetwork)
	k.oneWord("gateway.plaintext", g.Plaintext, behindTLSProxy)
	if k.Local() {
		return
	}
	// With nats.ca_file or nats.certificate_file the client insists on TLS, whatever the
	// scheme: RootCAs and ClientCert in nats.go 1.55. An NKey and a credentials file sign a
	// nonce, and send no secret.
	insists := n.CAFile != "" || n.CertificateFile != ""
	if n.User != "" && !n.Password.IsZero() && !insists && n.Plaintext == "" && sentInPlain(n.URL) {
		k.refuse("nats.url", "sends nats.password to another host in plain text; write tls://, or nats.plaintext: "+privateNetwork+
			" where only the broker and its clients are on that network")
	}
	host, _, err := net.SplitHostPort(g.Listen)
	if err == nil && !loopback(host) && g.TLS == (TLS{}) && g.Plaintext == "" {
		k.refuse("gateway.listen", "serves plain HTTP to other hosts; write gateway.tls, or gateway.plaintext: "+behindTLSProxy+
			" where a proxy does TLS, or listen on 127.0.0.1")
	}
}

func (k *checks) oneWord(path, given, word string) {
	if given != "" && given != word {
		k.refuse(path, k.origins[path]+" is not known; write "+word+", or remove the key")
	}
}

// sentInPlain reports whether one of the broker's URLs, with commas between
// them, is another host that is reached without TLS.
func sentInPlain(list string) bool {
	for _, one := range separated(list) {
		u, err := url.Parse(one)
		if err == nil && (u.Scheme == "nats" || u.Scheme == "ws") && !loopback(u.Hostname()) {
			return true
		}
	}
	return false
}

// weak says why production does not take a secret of so many bytes at least,
// "" when it does.
func (c *Config) weak(secret string, shortest int) string {
	if c.Local() {
		return ""
	}
	different := map[byte]bool{}
	for i := range len(secret) {
		different[secret[i]] = true
	}
	switch {
	case len(secret) < shortest:
		return fmt.Sprintf("has fewer than %d bytes; use 32 random ones", shortest)
	case len(different) < minDistinct:
		return fmt.Sprintf("has fewer than %d different characters; use 32 random bytes", minDistinct)
	}
	return ""
}

// shared refuses a credential that another account has too, among the credentials resolved
// before. Within one provider a webhook would belong to both accounts. Production also
// refuses it between two providers, because each of them could send webhooks as the other.
func (c *Config) shared(value string, own owner, taken credentials) string {
	for _, other := range slices.SortedFunc(maps.Keys(taken), owner.compare) {
		has := slices.ContainsFunc(taken[other], func(s Secret) bool { return s.Reveal() == value })
		switch {
		case !has:
		case other.provider == own.provider:
			return "is a secret of account " + other.account + " too; give each account its own"
		case !c.Local():
			return "is a secret of account " + other.account + " of " + other.provider + " too; give each account its own"
		}
	}
	return ""
}
