package webhook

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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// NewTLS names two files in a new folder, which do not exist yet.
func NewTLS(t testing.TB) TLS {
	t.Helper()
	folder := t.TempDir()
	return TLS{Certificate: filepath.Join(folder, "tls.crt"), Key: filepath.Join(folder, "tls.key"), LookEvery: 5 * time.Millisecond}
}

// Renew writes a new certificate for 127.0.0.1 and its key, and returns a pool
// that trusts it alone.
func (t TLS) Renew(tb testing.TB, expires time.Time) *x509.CertPool {
	tb.Helper()
	return t.issue(tb, time.Unix(0, 0), expires)
}

func (t TLS) issue(tb testing.TB, from, expires time.Time) *x509.CertPool {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: expires,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	write(tb, t.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	write(tb, t.Certificate, certificate)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	return pool
}

func write(tb testing.TB, file string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// inUse is a certificate of the files, which is looked at by hand.
func inUse(t *testing.T, files TLS) (*certificate, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	c, err := newCertificate(Options{TLS: files, Log: zap.New(core), Clock: time.Now, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return c, logs
}

func TestBrokenPairIsReportedAtTheSecondLook(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*testing.T, TLS){
		"no PEM":      func(t *testing.T, f TLS) { write(t, f.Certificate, []byte("nonsense")) },
		"half a file": func(t *testing.T, f TLS) { write(t, f.Key, []byte("-----BEGIN PRIVATE KEY-----\nMIG")) },
		"the key of another": func(t *testing.T, f TLS) {
			other := NewTLS(t)
			other.Renew(t, time.Now().Add(time.Hour))
			move(t, other.Key, f.Key)
		},
		"no file":       func(t *testing.T, f TLS) { move(t, f.Key, f.Key+".old") },
		"expired":       func(t *testing.T, f TLS) { f.Renew(t, time.Now().Add(-time.Hour)) },
		"not valid yet": func(t *testing.T, f TLS) { f.issue(t, time.Now().Add(time.Hour), time.Now().Add(9*time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := NewTLS(t)
			files.Renew(t, time.Now().Add(time.Hour))
			c, logs := inUse(t, files)
			old := c.current.Load()
			damage(t, files)
			for look, want := range []float64{0, 1, 2} {
				c.look()
				if got := testutil.ToFloat64(c.failures); got != want || c.current.Load() != old {
					t.Errorf("after look %d: %v failures, want %v; the old pair is in use: %t", look, got, want, c.current.Load() == old)
				}
			}
			if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 {
				t.Errorf("%d errors are logged, want 1", n)
			}
			expires := time.Now().Add(2 * time.Hour)
			files.Renew(t, expires)
			c.look()
			if c.current.Load() == old || testutil.ToFloat64(c.expiry) != float64(expires.Unix()) {
				t.Error("the mended pair is not in use")
			}
		})
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestRenewalInTwoStepsIsNoFailure(t *testing.T) {
	t.Parallel()
	files, next := NewTLS(t), NewTLS(t)
	files.Renew(t, time.Now().Add(time.Hour))
	c, _ := inUse(t, files)
	old := c.current.Load()
	next.Renew(t, time.Now().Add(2*time.Hour))
	move(t, next.Key, files.Key)
	c.look()
	move(t, next.Certificate, files.Certificate)
	c.look()
	if c.current.Load() == old || testutil.ToFloat64(c.failures) != 0 {
		t.Errorf("the new pair is in use: %t, failures %v", c.current.Load() != old, testutil.ToFloat64(c.failures))
	}
}

func TestExpiredCertificateServesAndIsLoggedAsAnError(t *testing.T) {
	t.Parallel()
	files := NewTLS(t)
	files.Renew(t, time.Now().Add(-time.Hour))
	// Whether to talk to us is the client's to decide: some do not look.
	if _, logs := inUse(t, files); logs.FilterLevelExact(zapcore.ErrorLevel).Len() != 1 {
		t.Error("no error is logged")
	}
}
