package ingress

import (
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"arauto/deploy/runtime/testbench"
)

// load loads a certificate, whose reload the test calls.
func load(t *testing.T, files testbench.Certificate) (*certificate, *observer.ObservedLogs) {
	t.Helper()
	log, logs := testbench.Logs(zapcore.DebugLevel)
	c, err := newCertificate(Options{
		Settings: Settings{TLS: TLS{Certificate: files.File, Key: files.Key}},
		Log:      log, Clock: time.Now, Registerer: prometheus.NewRegistry(),
	})
	testbench.Must(t, err)
	return c, logs
}

func TestBrokenCertificateIsReportedAtTheSecondReload(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*testing.T, testbench.Certificate){
		"no PEM":      func(t *testing.T, f testbench.Certificate) { write(t, f.File, "nonsense") },
		"half a file": func(t *testing.T, f testbench.Certificate) { write(t, f.Key, "-----BEGIN PRIVATE KEY-----\nMIG") },
		"the key of another": func(t *testing.T, f testbench.Certificate) {
			other := testbench.NewCertificate(t)
			other.Renew(t, time.Unix(0, 0), time.Now().Add(time.Hour))
			move(t, other.Key, f.Key)
		},
		"no file": func(t *testing.T, f testbench.Certificate) { move(t, f.Key, f.Key+".old") },
		"expired": func(t *testing.T, f testbench.Certificate) { f.Renew(t, time.Unix(0, 0), time.Now().Add(-time.Hour)) },
		"not valid yet": func(t *testing.T, f testbench.Certificate) {
			f.Renew(t, time.Now().Add(time.Hour), time.Now().Add(9*time.Hour))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := testbench.NewCertificate(t)
			files.Renew(t, time.Unix(0, 0), time.Now().Add(time.Hour))
			c, logs := load(t, files)
			old := c.current.Load()
			damage(t, files)
			for reload, want := range []float64{0, 1, 2} {
				c.reload()
				if got := testutil.ToFloat64(c.failures); got != want || c.current.Load() != old {
					t.Errorf("after reload %d: %v failures, want %v; the old pair is in use: %t", reload, got, want, c.current.Load() == old)
				}
			}
			if errors := logs.FilterLevelExact(zapcore.ErrorLevel); errors.Len() != 1 || errors.FilterMessage("certificate.reload_failed").Len() != 1 {
				t.Errorf("logged errors %v, want one certificate.reload_failed", errors.All())
			}
			expires := time.Now().Add(2 * time.Hour)
			files.Renew(t, time.Unix(0, 0), expires)
			c.reload()
			if c.current.Load() == old || testutil.ToFloat64(c.expiry) != float64(expires.Unix()) {
				t.Error("the mended pair is not in use")
			}
		})
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	testbench.Must(t, os.WriteFile(file, []byte(text), 0o600))
}

func move(t *testing.T, from, to string) {
	t.Helper()
	testbench.Must(t, os.Rename(from, to))
}

func TestRenewalInTwoStepsIsNoFailure(t *testing.T) {
	t.Parallel()
	files, next := testbench.NewCertificate(t), testbench.NewCertificate(t)
	files.Renew(t, time.Unix(0, 0), time.Now().Add(time.Hour))
	c, _ := load(t, files)
	old := c.current.Load()
	next.Renew(t, time.Unix(0, 0), time.Now().Add(2*time.Hour))
	move(t, next.Key, files.Key)
	c.reload()
	move(t, next.File, files.File)
	c.reload()
	if c.current.Load() == old || testutil.ToFloat64(c.failures) != 0 {
		t.Errorf("the new pair is in use: %t, failures %v", c.current.Load() != old, testutil.ToFloat64(c.failures))
	}
}

func TestExpiredCertificateIsServedAndLoggedAsAnError(t *testing.T) {
	t.Parallel()
	files := testbench.NewCertificate(t)
	files.Renew(t, time.Unix(0, 0), time.Now().Add(-time.Hour))
	_, logs := load(t, files)
	if errors := logs.FilterLevelExact(zapcore.ErrorLevel); errors.Len() != 1 || errors.FilterMessage("certificate.loaded").Len() != 1 {
		t.Errorf("logged errors %v, want one certificate.loaded", errors.All())
	}
}
