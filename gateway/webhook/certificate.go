package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// TLS names the files of the certificate that the gateway shows. They may be
// replaced at any time: new handshakes get the new certificate, connections
// that are open go on.
type TLS struct {
	Certificate string        // PEM: the certificate, then the rest of its chain.
	Key         string        // PEM: the private key of the first one.
	LookEvery   time.Duration // How often the files are looked at; 2 s by default.
}

// certificate is the pair in use. It reads the files again and again and
// compares what they say: times of files are too coarse to be trusted, and
// two small files cost nothing.
type certificate struct {
	files    TLS
	current  atomic.Pointer[tls.Certificate]
	log      *zap.Logger
	clock    func() time.Time
	failures prometheus.Counter
	expiry   prometheus.Gauge

	handshakes *prometheus.CounterVec // Those that failed.

	seen    pair   // What the files said when they were last usable.
	problem string // Why they are not usable, at the last look.
	looks   int    // How often in a row they said so.
}

// pair is what the two files say.
type pair struct{ certificate, key []byte }

// newCertificate reads the files for the first time.
func newCertificate(o Options) (*certificate, error) {
	c := &certificate{
		files: o.TLS, log: o.Log, clock: o.Clock,
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arauto_tls_reload_failures_total",
			Help: "Looks at the certificate's files that found no usable pair; the old one stays in use.",
		}),
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_tls_certificate_expiry_timestamp_seconds",
			Help: "When the certificate in use expires, as Unix time.",
		}),
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_tls_handshake_failures_total",
			Help: "Connections that ended before a request, by reason (refused: the client sent an alert, so look at the certificate).",
		}, []string{"reason"}),
	}
	orDefault(&c.files.LookEvery, 2*time.Second)
	found, err := c.files.read()
	if err != nil {
		return nil, err
	}
	fresh, err := found.parse()
	if err != nil {
		return nil, err
	}
	for _, collector := range []prometheus.Collector{c.failures, c.expiry, c.handshakes} {
		if err := o.Registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("register certificate metrics: %w", err)
		}
	}
	for _, why := range handshakeFailures() {
		c.handshakes.WithLabelValues(why)
	}
	c.use(found, fresh)
	return c, nil
}

// read returns what the files say now.
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

func (p pair) same(other pair) bool {
	return bytes.Equal(p.certificate, other.certificate) && bytes.Equal(p.key, other.key)
}

func (p pair) parse() (*tls.Certificate, error) {
	parsed, err := tls.X509KeyPair(p.certificate, p.key)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	return &parsed, nil
}

// use makes a pair the one that new handshakes get.
func (c *certificate) use(found pair, fresh *tls.Certificate) {
	c.seen = found
	c.current.Store(fresh)
	c.expiry.Set(float64(fresh.Leaf.NotAfter.Unix()))
	log := c.log.Info
	if c.expired(fresh) {
		log = c.log.Error
	}
	log("certificate in use", zap.Time("expires", fresh.Leaf.NotAfter), zap.Bool("expired", c.expired(fresh)))
}

// early reports whether a certificate is not valid yet. Clients would refuse it.
func (c *certificate) early(one *tls.Certificate) bool { return c.clock().Before(one.Leaf.NotBefore) }

func (c *certificate) expired(one *tls.Certificate) bool { return c.clock().After(one.Leaf.NotAfter) }

// config is what every handshake follows. fasthttp speaks HTTP/1.1 only, so
// nothing else is offered.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

// watch looks at the files until ctx ends or the returned function is called,
// which waits for the last look to be over.
func (c *certificate) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(c.files.LookEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.look()
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

// look takes a renewed pair into use. A renewal writes two files, one after
// the other, so what is wrong once is not reported before the next look.
func (c *certificate) look() {
	found, err := c.files.read()
	if err == nil && found.same(c.seen) {
		c.problem = ""
		return
	}
	var fresh *tls.Certificate
	if err == nil {
		fresh, err = found.parse()
	}
	if err == nil && c.expired(fresh) && !c.expired(c.current.Load()) {
		err = errors.New("the new certificate has expired")
	}
	if err == nil && c.early(fresh) && !c.early(c.current.Load()) {
		err = fmt.Errorf("the new certificate is not valid before %s", fresh.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if err == nil {
		c.problem = ""
		c.use(found, fresh)
		return
	}
	c.fail(err)
}

// fail keeps the pair in use. It counts every look, so that an alarm lasts as
// long as its cause, and logs once.
func (c *certificate) fail(err error) {
	if err.Error() != c.problem {
		c.problem, c.looks = err.Error(), 0
	}
	c.looks++
	if c.looks > 1 {
		c.failures.Inc()
	}
	if c.looks == 2 {
		c.log.Error("new certificate is not usable; the old one stays in use", zap.Error(err),
			zap.Time("expires", c.current.Load().Leaf.NotAfter))
	}
}
