package supervise

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/zap"
)

// askLimit bounds a request to a child, whose readiness checks have two seconds.
const askLimit = 3 * time.Second

// client keeps no connections: those to a child that was restarted are dead.
var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// serveAdmin opens the admin address: readiness and metrics of everything, and the
// gateway's /durability.
func (s *supervisor) serveAdmin(ctx context.Context) error {
	listener, err := listen(ctx, s.Addresses.Admin)
	if err != nil {
		return err
	}
	s.Addresses.Admin = listener.Addr().String()
	mux, errorLog := http.NewServeMux(), zap.NewStdLog(s.log)
	var metrics prometheus.Gatherers
	for _, c := range s.children {
		metrics = append(metrics, prometheus.GathererFunc(c.scrape))
		if c.role == Gateway {
			to := &url.URL{Scheme: "http", Host: c.admin}
			mux.Handle("GET /durability", &httputil.ReverseProxy{
				Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: client.Transport, ErrorLog: errorLog,
			})
		}
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: errorLog, // A child that has ended has none.
	}))
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("Ok\n")) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: askLimit, ErrorLog: errorLog}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.onStop(func() error {
		err := server.Close()
		if end := <-served; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("serve admin: %w", end))
		}
		return err
	})
	return nil
}

// readiness is the body of /readyz.
type readiness struct {
	Ready bool            `json:"ready"`
	Roles map[string]part `json:"roles"` // The broker among them.
}

// part is what /readyz says about the broker or a child.
type part struct {
	Ready    bool   `json:"ready"`
	PID      int64  `json:"pid,omitempty"`
	Restarts int64  `json:"restarts"`
	Admin    string `json:"admin,omitempty"`  // Base URL of its own /readyz and /metrics.
	Detail   string `json:"detail,omitempty"` // Why it is not ready.
}

func (s *supervisor) readyz(w http.ResponseWriter, r *http.Request) {
	now := s.ready(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !now.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(now) // It fails when the client is gone.
}

func (s *supervisor) ready(ctx context.Context) readiness {
	now := readiness{Ready: !s.stopping.Load(), Roles: map[string]part{}}
	add := func(name string, p part, err error) {
		if p.Ready = err == nil; err != nil {
			p.Detail, now.Ready = err.Error(), false
		}
		now.Roles[name] = p
	}
	_, err := s.js.AccountInfo(ctx)
	add("broker", part{}, err)
	for _, c := range s.children {
		_, err := c.get(ctx, "/readyz")
		add(c.role, part{PID: c.pid.Load(), Restarts: c.restarts.Load(), Admin: "http://" + c.admin}, err)
	}
	return now
}

// scrape reads the child's metrics and adds its role to each.
func (c *child) scrape() ([]*dto.MetricFamily, error) {
	body, err := c.get(context.Background(), "/metrics")
	if err != nil {
		return nil, fmt.Errorf("scrape %s: %w", c.role, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("parse metrics of %s: %w", c.role, err)
	}
	var all []*dto.MetricFamily
	for _, family := range families {
		for _, m := range family.GetMetric() {
			m.Label = append(m.Label, &dto.LabelPair{Name: new("role"), Value: new(c.role)})
			slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
		}
		all = append(all, family)
	}
	return all, nil
}

// get reads an answer of the child's admin listener. Without a process, the request
// would wait in the socket.
func (c *child) get(ctx context.Context, path string) ([]byte, error) {
	if c.pid.Load() == 0 {
		return nil, errors.New("it is not running")
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return fetch(ctx, http.MethodGet, "http://"+c.admin+path, nil)
}

// fetch reads the whole answer of a process on this machine, which is an error if its
// status is not 200.
func fetch(ctx context.Context, method, from string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, from, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // It was only read.
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, strings.TrimSpace(string(answer)))
	}
	return answer, err
}
