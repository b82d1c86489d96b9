package config

import (
	"cmp"
	"crypto/x509"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// proxyProtocol is the word of gateway.proxies.address_from for the PROXY protocol. Any
// other is a header.
const proxyProtocol = "proxy-protocol"

// Proxies are the proxies in front of the gateway that say which client a webhook comes
// from.
type Proxies struct {
	Networks    []string `yaml:"networks,omitempty"` // Of the proxies' own addresses. Default: none, the client is the TCP peer.
	AddressFrom string   `yaml:"address_from"`       // proxy-protocol, or the name of a header that is a list like X-Forwarded-For.
}

// Prefixes returns the networks.
func (p Proxies) Prefixes() []netip.Prefix { return prefixes(p.Networks) }

// Protocol reports whether the proxies speak the PROXY protocol.
func (p Proxies) Protocol() bool { return p.AddressFrom == proxyProtocol }

// Header is the header that says the client's address, "" for none.
func (p Proxies) Header() string {
	if p.Protocol() {
		return ""
	}
	return p.AddressFrom
}

// FailureLimit is how many failed authentications of one client's address one gateway
// answers with 401 or 400; one more gets 503.
type FailureLimit struct {
	Rate  int `yaml:"rate" within:"1 10000"`   // Per second. Default 1. 0 for any number.
	Burst int `yaml:"burst" within:"1 100000"` // At once after a quiet time. Default 0: a hundred times the rate.
}

// ClientCertificate is what an account's clients must have under TLS. In an account's
// section each part replaces its provider's.
type ClientCertificate struct {
	CAFile string   `yaml:"ca_file,omitempty"` // PEM: the authorities that issue the certificates. Default: none is asked for.
	Names  []string `yaml:"names,omitempty"`   // Of which the certificate must have one, in its subject alternative name or subject. Default: any.
}

// over is c where it says something, and base elsewhere.
func (c ClientCertificate) over(base ClientCertificate) ClientCertificate {
	if len(c.Names) == 0 {
		c.Names = base.Names
	}
	return ClientCertificate{CAFile: cmp.Or(c.CAFile, base.CAFile), Names: c.Names}
}

// Access is what an account's clients must have beside the credential. The zero value asks
// for nothing.
type Access struct {
	Networks    []netip.Prefix
	Authorities *x509.CertPool // Nil for no certificate.
	Names       []string
}

// Access returns what clients of the provider's accounts must have: what an account's own
// section says, else its provider's.
func (g Gateway) Access(provider string) map[string]Access {
	all := map[string]Access{}
	for o, a := range g.access {
		if o.provider == provider {
			all[o.account] = a
		}
	}
	return all
}

// ClientAuthorities are the files of the authorities that issue the certificates of clients, by
// the key that names each. They are not read.
func (c *Config) ClientAuthorities() map[string]string {
	all := map[string]string{}
	add := func(at string, of ClientCertificate) {
		if of.CAFile != "" {
			all[at+".client_certificate.ca_file"] = c.beside(of.CAFile)
		}
	}
	for name, part := range c.file.Providers {
		at := "providers." + name
		add(at, part.ClientCertificate)
		for account, own := range part.Accounts {
			add(at+".accounts."+account, own.ClientCertificate)
		}
	}
	return all
}

// access reads what an account's clients must have.
func (k *checks) access(a placed) Access {
	part := k.file.Providers[a.provider.Name]
	found := Access{Networks: prefixes(part.Networks)}
	if len(a.part.Networks) > 0 {
		found.Networks = prefixes(a.part.Networks)
	}
	of := a.part.ClientCertificate.over(part.ClientCertificate)
	at := a.at
	if a.part.ClientCertificate.CAFile == "" {
		at = "providers." + a.provider.Name
	}
	data := k.watched(at+".client_certificate.ca_file", of.CAFile, "PEM file")
	if data == nil {
		return found
	}
	found.Names, found.Authorities = of.Names, x509.NewCertPool()
	if !found.Authorities.AppendCertsFromPEM(data) {
		k.refuse(at+".client_certificate.ca_file", "holds no certificate; write a PEM file with the authorities that issue the clients' certificates")
	}
	return found
}

// checkAccess refuses a section of a provider, or of an account of it, that would admit no
// client. base is the provider's certificate for an account's section.
func (k *checks) checkAccess(at string, networks []string, c, base ClientCertificate) {
	k.checkNetworks(at+".networks", networks)
	g := k.file.Gateway
	if len(networks) > 0 && g.Plaintext == behindTLSProxy && len(g.Proxies.Networks) == 0 {
		k.refuse(at+".networks", "would be compared with the address of the proxy before the gateway; write gateway.proxies too")
	}
	if len(c.Names) > 0 && c.over(base).CAFile == "" {
		k.refuse(at+".client_certificate.names", "name nothing without authorities; write client_certificate.ca_file too")
	}
	if c.CAFile != "" && g.TLS == (TLS{}) {
		k.refuse(at+".client_certificate", "needs TLS at the gateway, because a proxy that ends it keeps the client's certificate; write gateway.tls")
	}
}

func (k *checks) checkProxies(p Proxies) {
	const at = "gateway.proxies"
	k.checkNetworks(at+".networks", p.Networks)
	for i, n := range p.Networks {
		if parsed, wrong := network(n); wrong == "" && parsed.Bits() == 0 {
			k.refuse(at+".networks["+strconv.Itoa(i)+"]", "is every address, so each client could write its own; write the networks of the proxies")
		}
	}
	switch {
	case len(p.Networks) > 0 && p.AddressFrom == "":
		k.refuse(at, "has no address_from; write address_from: "+proxyProtocol+", or the header in which they say the client's address")
	case len(p.Networks) == 0 && p.AddressFrom != "":
		k.refuse(at, "has no networks, so nothing may say a client's address; write networks, the addresses of the proxies")
	case strings.EqualFold(p.AddressFrom, "forwarded"):
		k.refuse(at+".address_from", "has a form that is not read; write X-Forwarded-For, or a header with an address alone")
	case p.AddressFrom != "" && !headerName.MatchString(p.AddressFrom):
		k.refuse(at+".address_from", k.origins[at+".address_from"]+" is no header; write "+proxyProtocol+", or a name such as X-Forwarded-For")
	}
}

func (k *checks) checkNetworks(at string, list []string) {
	for i, n := range list {
		path := at + "[" + strconv.Itoa(i) + "]"
		if _, wrong := network(n); wrong != "" {
			k.refuse(path, k.origins[path]+" "+wrong)
		}
	}
}

// network parses a network, or an address for the network of that address alone. wrong says
// what to write instead.
func network(text string) (found netip.Prefix, wrong string) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), ""
	}
	found, err := netip.ParsePrefix(text)
	switch {
	case err != nil || found.Addr().Is4In6():
		return netip.Prefix{}, "is not a network; write one such as 203.0.113.0/24 or 2001:db8::/32, or an address"
	case found != found.Masked():
		return netip.Prefix{}, "has bits behind its length; write " + found.Masked().String()
	}
	return found, ""
}

// prefixes are the networks of a list that was checked.
func prefixes(list []string) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(list))
	for _, text := range list {
		if n, wrong := network(text); wrong == "" {
			all = append(all, n)
		}
	}
	return slices.Clip(all)
}
