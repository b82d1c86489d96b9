package ingress

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// TLS names the files of the server's certificate. They may be replaced at any time: new
// handshakes get the new certificate, open connections stay open.
type TLS struct {
	Certificate    string        // PEM: the certificate, then the rest of its chain.
	Key            string        // PEM: the private key of the first certificate.
	ReloadInterval time.Duration // How often the files are read; 2 s by default.
}

// certificate is the certificate in use. Its files are read at each interval and compared
// by content, because modification times are too coarse and two small files cost little.
type certificate struct {
	files    TLS
	clients  func() bool // Whether a handshake asks for the client's certificate.
	current  atomic.Pointer[tls.Certificate]
	log      *zap.Logger
	clock    func() time.Time
	failures prometheus.Counter
	expiry   prometheus.Gauge

	handshakeFailures *prometheus.CounterVec

	loaded   pair   // Content of the files when they were last usable.
	problem  string // Why the files were not usable at the last reload, "" if they were.
	attempts int    // Reloads in a row with this problem.
}

// pair is the content of the two files.
type pair struct{ certificate, key []byte }

// newCertificate loads the files and registers the metrics.
func newCertificate(o Options) (*certificate, error) {
	c := &certificate{
		files: o.TLS, clients: o.ClientCertificates, log: o.Log, clock: o.Clock,
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arauto_tls_reload_failures_total",
			Help: "Reloads of the certificate's files that found no usable pair; the old one stays in use.",
		}),
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_tls_certificate_expiry_timestamp_seconds",
			Help: "When the certificate in use expires, as Unix time.",
		}),
		handshakeFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_tls_handshake_failures_total",
			Help: "Connections that ended before a request, by reason (refused: the client sent an alert, so look at the certificate).",
		}, []string{"reason"}),
	}
	found, err := c.files.read()
	if err != nil {
		return nil, err
	}
	parsed, err := found.parse()
	if err != nil {
		return nil, err
	}
	for _, collector := range []prometheus.Collector{c.failures, c.expiry, c.handshakeFailures} {
		if err := o.Registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("register certificate metrics: %w", err)
		}
	}
	for _, reason := range handshakeFailures() {
		c.handshakeFailures.WithLabelValues(reason)
	}
	c.use(found, parsed)
	return c, nil
}

// read returns the content of the files.
func (t TLS) read() (pair, error) {
	certificate, err := os.ReadFile(t.Certificate)
	if err != nil {
		return pair{}, fmt.Errorf("read certificate: %w", err)
	}
	key, err := os.ReadFile(t.Key)
	if err != nil {
		return pair{}, fmt.Errorf("read key of certificate: %w", err)
	}
	return pair{certificate, key}, nil
}

func (p pair) equal(other pair) bool {
	return bytes.Equal(p.certificate, other.certificate) && bytes.Equal(p.key, other.key)
}

func (p pair) parse() (*tls.Certificate, error) {
	parsed, err := tls.X509KeyPair(p.certificate, p.key)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	return &parsed, nil
}

// use makes a certificate that of new handshakes. An expired one is served and logged as
// an error: some clients accept it.
func (c *certificate) use(found pair, parsed *tls.Certificate) {
	c.loaded = found
	c.current.Store(parsed)
	c.expiry.Set(float64(parsed.Leaf.NotAfter.Unix()))
	log := c.log.Info
	if c.expired(parsed) {
		log = c.log.Error
	}
	log("certificate.loaded", zap.Time("expires", parsed.Leaf.NotAfter), zap.Bool("expired", c.expired(parsed)))
}

func (c *certificate) notYetValid(one *tls.Certificate) bool {
	return c.clock().Before(one.Leaf.NotBefore)
}

func (c *certificate) expired(one *tls.Certificate) bool { return c.clock().After(one.Leaf.NotAfter) }

// config is the TLS configuration of every handshake. fasthttp speaks HTTP/1.1 only, so no
// other protocol is offered.
func (c *certificate) config() *tls.Config {
	without := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
	asking := without.Clone()
	asking.ClientAuth = tls.RequestClientCert
	// Tickets of its own: a session that began without a certificate would be resumed without
	// one, although an account has come to ask for it.
	var key [32]byte
	_, _ = rand.Read(key[:]) // It never fails (crypto/rand).
	asking.SetSessionTicketKeys([][32]byte{key})
	without.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if c.clients() {
			return asking, nil
		}
		return nil, nil // The configuration itself.
	}
	return without
}

// watch reloads the files at each interval until ctx ends or stop is called. stop waits
// for a reload that runs.
func (c *certificate) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(c.files.ReloadInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.reload()
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// reload uses the files if they have changed and are usable.
func (c *certificate) reload() {
	found, err := c.files.read()
	if err == nil && found.equal(c.loaded) {
		c.problem = ""
		return
	}
	var parsed *tls.Certificate
	if err == nil {
		parsed, err = found.parse()
	}
	if err == nil && c.expired(parsed) && !c.expired(c.current.Load()) {
		err = errors.New("the new certificate has expired")
	}
	if err == nil && c.notYetValid(parsed) && !c.notYetValid(c.current.Load()) {
		err = fmt.Errorf("the new certificate is not valid before %s", parsed.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if err == nil {
		c.problem = ""
		c.use(found, parsed)
		return
	}
	c.reloadFailed(err)
}

// reloadFailed counts every failed reload, so that an alarm lasts as long as its cause,
// and logs the second. The first is not reported, because a renewal writes two files one
// after the other.
func (c *certificate) reloadFailed(err error) {
	if err.Error() != c.problem {
		c.problem, c.attempts = err.Error(), 0
	}
	c.attempts++
	if c.attempts > 1 {
		c.failures.Inc()
	}
	if c.attempts == 2 {
		c.log.Error("certificate.reload_failed", zap.Error(err), zap.Time("expires_in_use", c.current.Load().Leaf.NotAfter))
	}
}
