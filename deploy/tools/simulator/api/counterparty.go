// Package api is the other side of Arauto for demos and tests: one
// HTTP server that speaks the look-up APIs of every provider as they document
// them, keeps a state per payment, sends webhooks as each provider does, and
// fails on demand. Scripts steer it through the control calls under /_sim/.
//
// Look-ups live under a prefix per provider, such as GET /picpay/payments/{id}/status; the
// samples of package providers say which.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// maxBody is how many bytes a control call or a token request may have. The
// real ones have a few hundred.
const maxBody = 64 << 10

// Options are what a Simulator needs from outside.
type Options struct {
	GatewayURL string           // Where webhooks go, such as http://127.0.0.1:8080. Without it notify fails.
	StateFile  string           // Where payments are kept between runs; empty keeps them in memory only.
	Log        *zap.Logger      // nil logs nothing. Ids and secrets are never logged.
	Now        func() time.Time // nil is the real clock.
}

// Simulator is all providers at once. It is safe for concurrent use.
type Simulator struct {
	gateway string
	log     *zap.Logger
	now     func() time.Time
	ledger  *ledger
	faults  *faults
	asked   *tally
	metrics *metrics
	scrape  http.Handler
	client  *http.Client

	stopped context.Context // Ends slow answers and webhooks under way.
	stop    context.CancelFunc
}

// New opens the state file and returns a Simulator that knows the payments in
// it, beside those of the providers' own examples. It fails when the options
// are unusable or the state file cannot be read or written.
func New(o Options) (*Simulator, error) {
	if err := checkGateway(o.GatewayURL); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	book, err := openLedger(o.StateFile, examples(o.Now()))
	if err != nil {
		return nil, err
	}
	m := newMetrics()
	ctx, stop := context.WithCancel(context.Background())
	return &Simulator{
		gateway: strings.TrimRight(o.GatewayURL, "/"),
		log:     o.Log,
		now:     o.Now,
		ledger:  book,
		faults:  &faults{force: map[string]map[aim]*fault{}},
		asked:   &tally{asked: map[[3]string]int{}},
		metrics: m,
		scrape:  promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}),
		client:  newClient(),
		stopped: ctx,
		stop:    stop,
	}, nil
}

func checkGateway(base string) error {
	if base == "" {
		return nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("gateway URL is not an absolute http or https URL")
	}
	return nil
}

// Close ends slow answers and webhooks under way and writes the state down.
// Call it before the HTTP server's Shutdown, which would otherwise wait for
// them. Control calls that change a payment fail from then on. It may be
// called again.
func (s *Simulator) Close() error {
	s.stop()
	s.client.CloseIdleConnections()
	if err := s.ledger.close(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// Handler serves the providers' APIs, the control calls, /healthz, /readyz
// and /metrics. It reads paths as they were sent, so that a payment's id is
// one percent-encoded segment whatever is in it; ServeMux would clean the
// path and merge ids.
func (s *Simulator) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Simulator) serve(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	path, err := segments(r.URL)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	switch path[0] {
	case "healthz", "readyz":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("Ok\n"))
	case "metrics":
		s.scrape.ServeHTTP(w, r)
	case "_sim":
		s.control(w, r, path[1:])
	default:
		s.provide(w, r, path)
	}
}

// segments splits a path at its literal slashes and decodes each segment
// once. There is always a first one.
func segments(u *url.URL) ([]string, error) {
	parts := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	for i, part := range parts {
		plain, err := url.PathUnescape(part)
		if err != nil {
			return nil, errors.New("path is not percent-encoded")
		}
		parts[i] = plain
	}
	return parts, nil
}

// reply sends a JSON answer. A value that cannot be encoded is a bug of ours
// and says so.
func reply(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"answer cannot be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// problem is an error of the simulator itself, not one that a provider words.
func problem(w http.ResponseWriter, status int, message string) {
	reply(w, status, map[string]string{"error": message})
}

// metrics are in a registry of their own, so that two simulators in one
// process do not meet.
type metrics struct {
	registry *prometheus.Registry
	lookups  *prometheus.CounterVec
	webhooks *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_simulator_lookups_total",
			Help: "Look-ups that the simulated providers were asked, by what became of them.",
		}, []string{"provider", "result"}),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_simulator_webhooks_total",
			Help: "Webhooks that the simulated providers sent, by the gateway's HTTP status or \"error\" without one.",
		}, []string{"provider", "code"}),
	}
	m.registry.MustRegister(m.lookups, m.webhooks)
	return m
}
