package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// admin serves health, readiness and metrics. It outlives the role, so that the stop can be
// observed.
type admin struct {
	mux      *http.ServeMux
	checks   checks
	log      *zap.Logger
	server   *http.Server
	listener net.Listener
}

// adminError is the cause of an end by a failure of the admin listener: a process that
// cannot be monitored must not go on.
type adminError struct{ err error }

func (e *adminError) Error() string { return "serve admin: " + e.err.Error() }

func (e *adminError) Unwrap() error { return e.err }

// newAdmin opens the socket early, so that an address in use is an error of the start.
func newAdmin(address string, registry *prometheus.Registry, log *zap.Logger) (*admin, error) {
	listener, err := Listen("admin", address)
	if err != nil {
		return nil, err
	}
	a := &admin{mux: http.NewServeMux(), log: log, listener: listener}
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("Ok\n")) // The write fails only if the client has closed the connection.
	})
	a.mux.HandleFunc("GET /readyz", a.readyz)
	// A collector that fails must not take the other metrics with it.
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		Registry: registry, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true, ErrorLog: zap.NewStdLog(log),
	}))
	a.server = &http.Server{
		Handler:           a.mux,
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          zap.NewStdLog(log),
	}
	return a, nil
}

// serve answers requests until stop; failed is called when it cannot go on.
func (a *admin) serve(failed context.CancelCauseFunc) {
	go func() {
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			failed(&adminError{err})
		}
	}()
}

// stop ends the listener and waits for the requests in flight.
func (a *admin) stop(ctx context.Context) error {
	err := a.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, a.server.Close())
	}
	// Shutdown knows the listener only once Serve has begun.
	if closing := a.listener.Close(); closing != nil && !errors.Is(closing, net.ErrClosed) {
		err = errors.Join(err, closing)
	}
	return err
}

// readiness is the body of /readyz.
type readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"` // "ok", or what is wrong.
}

// readyz says whether the process can work, by all of its checks. With ?for=balancer it
// says whether requests may be sent to it, which it answers with a 503 of its own while
// it cannot work: by whether it runs and is not stopping, and by nothing else.
func (a *admin) readyz(w http.ResponseWriter, r *http.Request) {
	var result readiness
	switch r.URL.Query().Get("for") {
	case "":
		result = a.checks.run(r.Context())
	case "balancer":
		result = a.checks.process()
	default:
		http.Error(w, "for is balancer, or is not given", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !result.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(result); err != nil {
		a.log.Debug("readiness.write_failed", zap.Error(err))
	}
}

// checkLimit bounds one round of readiness checks.
const checkLimit = 2 * time.Second

// checks are the readiness checks of a process.
type checks struct {
	begun    atomic.Bool // The role works now.
	stopping atomic.Bool // Balancers must look elsewhere.

	mu    sync.Mutex
	named map[string]func(context.Context) error
}

// add registers a check; a second one of the same name replaces the first.
func (c *checks) add(name string, check func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.named == nil {
		c.named = map[string]func(context.Context) error{}
	}
	c.named[name] = check
}

// run makes one round, all checks at once, and never takes longer than
// checkLimit.
func (c *checks) run(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	type outcome struct {
		name string
		err  error
	}
	result := c.process()
	c.mu.Lock()
	outcomes := make(chan outcome, len(c.named))
	for name, check := range c.named {
		result.Checks[name] = fmt.Sprintf("no answer within %v", checkLimit)
		go func() { outcomes <- outcome{name, check(ctx)} }()
	}
	waiting := len(c.named)
	c.mu.Unlock()
	for ; waiting > 0; waiting-- {
		select {
		case o := <-outcomes:
			result.Checks[o.name] = "ok"
			if o.err != nil {
				result.Checks[o.name], result.Ready = o.err.Error(), false
			}
		case <-ctx.Done():
			result.Ready = false
			return result
		}
	}
	return result
}

// process is the process's own check alone.
func (c *checks) process() readiness {
	phase := "ok"
	switch {
	case c.stopping.Load():
		phase = "stopping"
	case !c.begun.Load():
		phase = "starting"
	}
	return readiness{Ready: phase == "ok", Checks: map[string]string{"process": phase}}
}
