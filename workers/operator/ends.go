package operator

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/nats-io/jwt/v2"

	"arauto/deploy/runtime/config"
)

// endNeeds looks at what ends among the files that the configuration names. notes name those
// that are not here.
func endNeeds(cfg *config.Config, now time.Time) (found []Need, notes []string) {
	n, authorities := cfg.NATS(), cfg.ClientAuthorities()
	look := func(what, file string, ends func(whose string, text []byte, now time.Time) ([]Need, error)) {
		if file == "" {
			return
		}
		text, err := os.ReadFile(file)
		if err != nil {
			notes = append(notes, what+", which cannot be read here")
			return
		}
		more, err := ends(what, text, now)
		if found = append(found, more...); err != nil {
			found = append(found, Need{losing, what + " does not decode: " + err.Error()})
		}
	}
	look("the gateway's certificate", cfg.GatewayTLS().Certificate, endOfChain)
	look("the certificate of nats.certificate_file", n.CertificateFile, endOfChain)
	look("the user of nats.credentials_file", n.CredentialsFile, endOfCredentials)
	look("the authority of nats.ca_file", n.CAFile, endOfAuthorities)
	for _, key := range slices.Sorted(maps.Keys(authorities)) {
		look("the authority of "+key, authorities[key], endOfAuthorities)
	}
	return found, notes
}

// endsAt is a finding if something has ended at a time, or does so soon.
func endsAt(whose string, at, now time.Time) []Need {
	switch left := at.Sub(now); {
	case left <= 0:
		return []Need{{losing, whose + " ended at " + at.Format(time.RFC3339) + ": renew its files"}}
	case left < certificateEnds:
		return []Need{{later, whose + " ends at " + at.Format(time.RFC3339) + ": renew its files"}}
	}
	return nil
}

// endOf is a finding about the first certificate of a chain that has ended or ends soon.
func endOf(whose string, chain []*x509.Certificate, now time.Time) []Need {
	for _, one := range chain {
		if found := endsAt(whose, one.NotAfter, now); found != nil {
			return found
		}
	}
	return nil
}

func endOfChain(whose string, text []byte, now time.Time) ([]Need, error) {
	chain, err := chainOf(text)
	return endOf(whose, chain, now), err
}

// endOfAuthorities is endOf for certificates each of which stands alone: while one has not
// ended, nothing is refused for certain.
func endOfAuthorities(whose string, text []byte, now time.Time) ([]Need, error) {
	all, err := chainOf(text)
	if err != nil {
		return nil, err
	}
	found := endOf(whose, all, now)
	last := slices.MaxFunc(all, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	if len(found) > 0 && last.NotAfter.After(now) {
		found[0].Danger = later
	}
	return found, nil
}

// endOfCredentials is a finding if the JWT of a NATS credentials file has ended or ends soon.
func endOfCredentials(whose string, text []byte, now time.Time) ([]Need, error) {
	token, err := jwt.ParseDecoratedJWT(text)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return nil, fmt.Errorf("decode credentials: %w", err)
	}
	if claims.Expires == 0 {
		return nil, nil
	}
	return endsAt(whose, time.Unix(claims.Expires, 0), now), nil
}

// chainOf decodes a PEM file of certificates.
func chainOf(text []byte) (chain []*x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("decode certificate: %w", err)
		}
		chain = append(chain, one)
	}
	if len(chain) == 0 {
		return nil, errors.New("there is no certificate")
	}
	return chain, nil
}
