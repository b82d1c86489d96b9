package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"arauto/gateway/ingress"
	"arauto/schemas/provider"
)

// Access is what a client must have beside the credential to send webhooks to an account.
// The zero value asks for nothing.
type Access struct {
	Networks    []netip.Prefix // The client's address must be in one of them; none for any address.
	Authorities *x509.CertPool // One of them must have issued the client's certificate; nil for no certificate.
	Names       []string       // The certificate must have one of them as name: see certificateNames. None for any name.
}

// check returns what is wrong with an access.
func (a Access) check() error {
	if len(a.Names) > 0 && a.Authorities == nil {
		return errors.New("names of client certificates need the authorities that issue them")
	}
	return nil
}

// access checks clients against an Access. A nil access admits every client.
type access struct {
	Access

	mu       sync.Mutex
	verified map[*x509.Certificate]time.Time // Until when a client's certificate is known to be right.
}

// maxVerified is how many certificates are remembered at once. crypto/tls has one value for
// each certificate that open connections have, so that a connection's second request finds
// it; a guess.
const maxVerified = 256

// newAccess makes the access of each account that asks for something.
func newAccess(accounts map[string]Access) map[string]*access {
	all := make(map[string]*access, len(accounts))
	for account, a := range accounts {
		if len(a.Networks) > 0 || a.Authorities != nil {
			all[account] = &access{Access: a, verified: map[*x509.Certificate]time.Time{}}
		}
	}
	return all
}

// wantsClientCertificates reports whether any provider or account needs the certificate of
// its clients.
func (g *Gateway) wantsClientCertificates() bool {
	for _, e := range *g.endpoints.Load() {
		if e.ClientCertificate {
			return true
		}
		for _, a := range e.access {
			if a.Authorities != nil {
				return true
			}
		}
	}
	return false
}

// admits reports whether a request's client may send webhooks to the account. It is checked
// before the credential, so that a client from elsewhere cannot find out which credentials
// are right, and gets the answer for an unknown account.
func (g *Gateway) admits(a *access, rc *fasthttp.RequestCtx, d *delivery) bool {
	if a == nil {
		return true
	}
	if len(a.Networks) > 0 {
		client := g.server.ClientAddress(rc)
		if !slices.ContainsFunc(a.Networks, func(n netip.Prefix) bool { return n.Contains(client) }) {
			d.refused = provider.Refusal{Rule: ruleNetwork, Err: errNetwork}
			return false
		}
	}
	if a.Authorities != nil {
		if err := a.verify(rc.TLSConnectionState(), d.started); err != nil {
			d.refused = provider.Refusal{Rule: ruleClientCertificate, Err: err}
			ingress.CloseLingering(rc) // Only a new handshake asks for a certificate.
			return false
		}
	}
	return true
}

var (
	errNetwork       = errors.New("client's address is in none of the account's networks")
	errNoCertificate = errors.New("client has no certificate")
	errCertificate   = errors.New("client's certificate is not issued by the account's authorities for clients, or is not valid at this time")
	errName          = errors.New("client's certificate has none of the account's names")
)

// verify checks the client's certificate of a connection. The error holds nothing of the
// certificate.
func (a *access) verify(state *tls.ConnectionState, now time.Time) error {
	if state == nil || len(state.PeerCertificates) == 0 {
		return errNoCertificate
	}
	leaf := state.PeerCertificates[0]
	a.mu.Lock()
	until, known := a.verified[leaf]
	a.mu.Unlock()
	if known && now.Before(until) {
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	verified, err := leaf.Verify(x509.VerifyOptions{
		Roots: a.Authorities, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	switch {
	case err != nil:
		return errCertificate
	case len(a.Names) > 0 && !slices.ContainsFunc(certificateNames(leaf), a.named):
		return errName
	}
	a.remember(leaf, verified[0])
	return nil
}

func (a *access) named(name string) bool {
	return slices.ContainsFunc(a.Names, func(allowed string) bool { return strings.EqualFold(name, allowed) })
}

// remember keeps a right certificate for as long as all on its path to the authority are
// valid.
func (a *access) remember(leaf *x509.Certificate, path []*x509.Certificate) {
	until := leaf.NotAfter
	for _, c := range path {
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.verified) >= maxVerified {
		clear(a.verified)
	}
	a.verified[leaf] = until
}

// certificateNames lists the names of a certificate: the DNS names, e-mail addresses, URIs
// and IP addresses of its subject alternative name, its common name, and its whole subject
// as RFC 2253 writes it.
func certificateNames(c *x509.Certificate) []string {
	names := slices.Concat(c.DNSNames, c.EmailAddresses, []string{c.Subject.CommonName, c.Subject.String()})
	for _, uri := range c.URIs {
		names = append(names, uri.String())
	}
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}
