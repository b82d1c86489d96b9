package config

import (
	"crypto/tls"
	"strings"
)

// resolveTLS reads the pair once, so that what cannot serve is refused at
// start, and gives the paths a meaning that does not depend on the folder.
func (c *Config) resolveTLS(path string, t TLS) (TLS, Problems) {
	resolved := TLS{Certificate: c.beside(t.Certificate), Key: c.beside(t.Key)}
	if t.Certificate == "" || t.Key == "" {
		return resolved, nil // Neither, or reported by checkPaths.
	}
	k := &checks{config: c}
	certificate, err := readBounded(resolved.Certificate)
	if err != nil {
		k.refuse(path+".certificate", "cannot read the file: "+reason(err)+"; write the path of a readable PEM file")
	}
	key, err := readBounded(resolved.Key)
	if err != nil {
		k.refuse(path+".key", "cannot read the file: "+reason(err)+"; write the path of a readable PEM file")
	}
	if len(k.problems) > 0 {
		return resolved, k.problems
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		k.refuse(path, "is not a usable pair: "+strings.TrimPrefix(err.Error(), "tls: ")+"; write the PEM files of a certificate with its chain and of its own key")
	}
	return resolved, k.problems
}
