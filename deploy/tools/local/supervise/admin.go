package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// askLimit bounds one question to a child. Its own readiness checks have two
// seconds.
const askLimit = 3 * time.Second

// maxReadiness bounds what is read of a child's readiness, in bytes.
const maxReadiness = 16 << 10

// maxDurability bounds what is read of the gateway's /durability, in bytes.
const maxDurability = 1 << 20

// admin answers for all parts together.
type admin struct {
	broker   *broker
	children []*child
	targets  map[string]string // Base URL of each child's /readyz and /metrics.
	metrics  *metrics
	client   *http.Client
	log      *zap.Logger
	stopping atomic.Bool
}

func newAdmin(s *supervisor) *admin {
	return &admin{
		broker: s.broker, children: s.children, targets: s.targets(), metrics: s.metrics, log: s.Log,
		// No kept connections: a child that was started again must be asked
		// itself, and not through a connection that has just died.
		client: &http.Client{Timeout: askLimit, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("Ok\n")) // The caller has gone if it fails.
	})
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("GET /durability", a.durability)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", string(textFormat))
		if err := a.metrics.write(r.Context(), w, a.client, a.targets); err != nil {
			a.log.Info("metrics were not read", zap.Error(err))
		}
	})
	return mux
}

// durability passes on what the gateway says about its 200s. Nobody else
// answers one.
func (a *admin) durability(w http.ResponseWriter, r *http.Request) {
	target, ok := a.targets[Gateway]
	if !ok {
		http.Error(w, "the gateway is not among the roles that run", http.StatusNotFound)
		return
	}
	body, status, err := fetch(r.Context(), a.client, target+"/durability", maxDurability)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		a.log.Info("durability was not read", zap.Error(err))
	}
}

// part is what /readyz says about one part.
type part struct {
	Ready    bool            `json:"ready"`
	PID      int             `json:"pid,omitempty"`
	Restarts int             `json:"restarts"`
	Admin    string          `json:"admin,omitempty"`  // Base URL of its own /readyz and /metrics.
	Detail   json.RawMessage `json:"detail,omitempty"` // Its own /readyz, or a text that says what is wrong.
}

// readiness is the body of /readyz.
type readiness struct {
	Ready bool            `json:"ready"`
	Roles map[string]part `json:"roles"` // The broker among them.
}

func (a *admin) readyz(w http.ResponseWriter, r *http.Request) {
	result := a.ready(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !result.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(result); err != nil {
		a.log.Info("readiness was not read", zap.Error(err))
	}
}

// ready asks all parts at once.
func (a *admin) ready(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	parts := map[string]part{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	ask := func(name string, one func() part) {
		wait.Go(func() {
			p := one()
			mu.Lock()
			defer mu.Unlock()
			parts[name] = p
		})
	}
	ask("broker", func() part { return a.askBroker(ctx) })
	for _, c := range a.children {
		ask(c.role, func() part { return a.askChild(ctx, c) })
	}
	wait.Wait()
	result := readiness{Ready: !a.stopping.Load(), Roles: parts}
	for p := range maps.Values(parts) {
		result.Ready = result.Ready && p.Ready
	}
	return result
}

func (a *admin) askBroker(ctx context.Context) part {
	if err := a.broker.check(ctx); err != nil {
		return part{Detail: quoted(err.Error())}
	}
	return part{Ready: true}
}

func (a *admin) askChild(ctx context.Context, c *child) part {
	p := part{Admin: a.targets[c.role]}
	p.PID, p.Restarts = c.state()
	if p.PID == 0 { // Its socket would take the question and nobody would answer.
		p.Detail = quoted("it is not running")
		return p
	}
	body, status, err := fetch(ctx, a.client, p.Admin+"/readyz", maxReadiness)
	if err != nil {
		p.Detail = quoted(err.Error())
		return p
	}
	p.Ready = status == http.StatusOK
	switch {
	case json.Valid(body):
		p.Detail = body
	case !p.Ready:
		p.Detail = quoted(fmt.Sprintf("status %d", status))
	}
	return p
}

func quoted(text string) json.RawMessage {
	raw, err := json.Marshal(text)
	if err != nil { // A string always has a JSON form.
		return nil
	}
	return raw
}

// fetch reads a small answer whole.
func fetch(ctx context.Context, client *http.Client, url string, limit int64) (body []byte, status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, 0, fmt.Errorf("ask: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // It was only read.
	if body, err = io.ReadAll(io.LimitReader(resp.Body, limit)); err != nil {
		return nil, 0, fmt.Errorf("read answer: %w", err)
	}
	return body, resp.StatusCode, nil
}

// serve answers on the listener until stop is called; failed is told when it
// cannot go on.
func (a *admin) serve(listener net.Listener, failed chan<- error) (stop func() error) {
	server := &http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          zap.NewStdLog(a.log),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			select {
			case failed <- fmt.Errorf("serve admin: %w", err):
			default: // Something else has failed before.
			}
		}
	}()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), askLimit)
		defer cancel()
		err := errors.Join(server.Shutdown(ctx), server.Close())
		<-done
		return err
	}
}
