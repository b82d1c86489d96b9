package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"arauto/deploy/runtime/testbench"
)

// withAccess is a configuration with a section of the provider alpha and of its account.
func withAccess(gateway, part, account string) string {
	return "hash_key: ${HASH}\ngateway: {" + gateway + "}\nproviders:\n  alpha:\n    " + part +
		"\n    accounts:\n      default: {webhook_secrets: ['${ONE}'], settings: {token: '${ONE}', base_url: 'https://a.example'}" + account + "}\n"
}

// authorities writes two authorities and a pair for gateway.tls beside a configuration.
func authorities(t *testing.T, folder string) {
	t.Helper()
	t.Helper()
	for _, name := range []string{"one.crt", "two.crt"} {
		a := testbench.NewAuthority(t)
		data, err := os.ReadFile(a.File)
		testbench.Must(t, err)
		testbench.Must(t, os.WriteFile(filepath.Join(folder, name), data, 0o600))
	}
	pair(t, folder, "tls")
}

const overTLS = "tls: {certificate: tls.crt, key: tls.key}"

func TestAccountsOwnAccessTakesPrecedence(t *testing.T) {
	t.Parallel()
	path := write(t, withAccess(overTLS, "networks: [203.0.113.0/24, '2001:db8::1']\n    client_certificate: {ca_file: one.crt, names: [sender.example]}",
		"}\n      acme: {webhook_secrets: ['${TWO}'], settings: {token: '${ONE}', base_url: 'https://a.example'}, networks: ['${NETWORK}'], client_certificate: {names: [other.example]}"))
	authorities(t, filepath.Dir(path))
	c, err := Load(path, environment("NETWORK", "10.0.0.0/8"), known, RoleGateway)
	testbench.Must(t, err)
	g, err := c.Gateway()
	testbench.Must(t, err)
	own, inherited := g.Access("alpha")["acme"], g.Access("alpha")["default"]
	same(t, "networks of the provider", inherited.Networks, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::1/128")})
	same(t, "networks of the account", own.Networks, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	same(t, "names of the provider", inherited.Names, []string{"sender.example"})
	same(t, "names of the account", own.Names, []string{"other.example"})
	if own.Authorities == nil || !own.Authorities.Equal(inherited.Authorities) {
		t.Error("the account does not have its provider's authorities")
	}
	if len(g.Access("bravo")) != 0 {
		t.Error("another provider has an access")
	}
}

func TestNoClientIsAskedForMoreByDefault(t *testing.T) {
	t.Parallel()
	g, err := load(t, withAccess("listen: '127.0.0.1:0'", "retry: default", ""), RoleGateway).Gateway()
	testbench.Must(t, err)
	if a := g.Access("alpha")["default"]; len(a.Networks) != 0 || a.Authorities != nil || len(a.Names) != 0 {
		t.Errorf("the access is %+v", a)
	}
	same(t, "failures", g.Failures, FailureLimit{Rate: 1})
	if g.Proxies.Protocol() || g.Proxies.Header() != "" || len(g.Proxies.Prefixes()) != 0 {
		t.Errorf("the proxies are %+v", g.Proxies)
	}
}

func TestProxiesSayAddressesInOneWay(t *testing.T) {
	t.Parallel()
	for from, header := range map[string]string{"proxy-protocol": "", "X-Forwarded-For": "X-Forwarded-For", "x-real-ip": "x-real-ip"} {
		g, err := load(t, "hash_key: ${HASH}\ngateway: {proxies: {networks: [10.0.0.0/8], address_from: "+from+"}, authentication_failures: {rate: 0}}\n", RoleGateway).Gateway()
		testbench.Must(t, err)
		if g.Proxies.Header() != header || g.Proxies.Protocol() != (header == "") || len(g.Proxies.Prefixes()) != 1 || g.Failures.Rate != 0 {
			t.Errorf("%s: %+v, failures %+v", from, g.Proxies, g.Failures)
		}
	}
}

func TestUnusableAccessIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	const part, account = "FILE:5: providers.alpha", "FILE:7: providers.alpha.accounts.default"
	for about, c := range map[string]struct{ gateway, part, account, want string }{
		"no network":             {"", "networks: [here]", "", part + `.networks[0]: "here" is not a network; write one such as 203.0.113.0/24 or 2001:db8::/32, or an address`},
		"bits behind the length": {"", "networks: [203.0.113.7/24]", "", part + `.networks[0]: "203.0.113.7/24" has bits behind its length; write 203.0.113.0/24`},
		"of the account":         {"", "retry: default", ", networks: [x]", account + `.networks[0]: "x" is not a network; write one such as 203.0.113.0/24 or 2001:db8::/32, or an address`},
		"from the environment": {
			"", "networks: ['${ONE}']", "", part + `.networks[0]: the value of ONE is not a network; write one such as 203.0.113.0/24 or 2001:db8::/32, or an address`,
		},
		"behind a proxy that is not named": {
			"plaintext: behind-tls-proxy", "networks: [203.0.113.0/24]", "",
			part + ".networks: would be compared with the address of the proxy before the gateway; write gateway.proxies too",
		},
		"a certificate without TLS": {
			"", "client_certificate: {ca_file: one.crt}", "",
			part + ".client_certificate: needs TLS at the gateway, because a proxy that ends it keeps the client's certificate; write gateway.tls",
		},
		"names without authorities": {
			overTLS, "client_certificate: {names: [x]}", "",
			part + ".client_certificate.names: name nothing without authorities; write client_certificate.ca_file too",
		},
		"no file": {
			overTLS, "client_certificate: {ca_file: nowhere}", "",
			part + ".client_certificate.ca_file: cannot read the file: no such file or directory; write the path of a readable PEM file",
		},
		"no PEM": {
			overTLS, "retry: default", ", client_certificate: {ca_file: arauto.yaml}",
			account + ".client_certificate.ca_file: holds no certificate; write a PEM file with the authorities that issue the clients' certificates",
		},
		"proxies without networks": {
			"proxies: {address_from: x-real-ip}", "retry: default", "",
			"FILE:2: gateway.proxies: has no networks, so nothing may say a client's address; write networks, the addresses of the proxies",
		},
		"proxies without a way": {
			"proxies: {networks: [10.0.0.0/8]}", "retry: default", "",
			"FILE:2: gateway.proxies: has no address_from; write address_from: proxy-protocol, or the header in which they say the client's address",
		},
		"every address is a proxy": {
			"proxies: {networks: ['::/0'], address_from: x-real-ip}", "retry: default", "",
			"FILE:2: gateway.proxies.networks[0]: is every address, so each client could write its own; write the networks of the proxies",
		},
		"Forwarded": {
			"proxies: {networks: [10.0.0.0/8], address_from: Forwarded}", "retry: default", "",
			"FILE:2: gateway.proxies.address_from: has a form that is not read; write X-Forwarded-For, or a header with an address alone",
		},
		"no header": {
			"proxies: {networks: [10.0.0.0/8], address_from: 'proxy protocol'}", "retry: default", "",
			`FILE:2: gateway.proxies.address_from: "proxy protocol" is no header; write proxy-protocol, or a name such as X-Forwarded-For`,
		},
		"a burst without a rate": {
			"authentication_failures: {rate: 0, burst: 5}", "retry: default", "",
			"FILE:2: gateway.authentication_failures.burst: limits nothing without a rate; write rate beside it, in failures per second",
		},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			path := write(t, withAccess(c.gateway, c.part, c.account))
			authorities(t, filepath.Dir(path))
			_, err := Load(path, environment(), known, RoleGateway)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if got := strings.ReplaceAll(err.Error(), path, "FILE"); got != c.want {
				t.Errorf("it says\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// TestAuthoritiesAreOfNoConcernToOtherRoles: they need not be able to read them.
func TestAuthoritiesAreOfNoConcernToOtherRoles(t *testing.T) {
	t.Parallel()
	text := withAccess(overTLS, "client_certificate: {ca_file: nowhere}", "")
	for _, role := range []string{RoleLookup, RoleNormalize, RoleSweep} {
		if _, err := Load(write(t, text), environment(), known, role); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
}
