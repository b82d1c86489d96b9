package testbench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificate names the two files of a server certificate for 127.0.0.1.
type Certificate struct{ File, Key string }

// NewCertificate names two files in a new folder. They do not exist before Renew.
func NewCertificate(t testing.TB) Certificate {
	t.Helper()
	folder := t.TempDir()
	return Certificate{File: filepath.Join(folder, "tls.crt"), Key: filepath.Join(folder, "tls.key")}
}

// Renew writes a new certificate for a span of time, and its key. It returns a pool that
// trusts this certificate only.
func (c Certificate) Renew(t testing.TB, from, expires time.Time) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: expires,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	Must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	Must(t, err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	Must(t, os.WriteFile(c.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	Must(t, os.WriteFile(c.File, certificate, 0o600))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	return pool
}
