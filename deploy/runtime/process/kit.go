package process

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/signal"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/spans"
	"arauto/deploy/runtime/version"
)

// Kit is what a role works with.
type Kit struct {
	// Config is the configuration as it was at the start. Current is the one in use.
	Config *config.Config
	Log    *zap.Logger
	// Registry is served on /metrics; the metrics of Go, the process and the build are
	// in it already.
	Registry *prometheus.Registry
	// NATS reconnects for ever. While it is disconnected, publishes fail at once and are
	// not buffered, so that no webhook gets 200 for a message that is only in this process.
	// It may not be connected yet.
	NATS *nats.Conn
	JS   jetstream.JetStream // On NATS.
	Link *Link               // Of NATS.
	// Spans is nil, which records nothing, unless tracing is configured.
	Spans *spans.Tracer

	admin    *admin
	reload   *reloader
	cleanups cleanups
	limits   limits
}

// newKit builds the kit. The kit is never nil: after an error, stop takes
// down what was built.
func newKit(role string, cfg *config.Config, log *zap.Logger, l limits) (*Kit, error) {
	k := &Kit{Config: cfg, Log: log, Registry: prometheus.NewRegistry(), limits: l}
	k.Registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.Metric(),
	)
	k.reload = newReloader(role, cfg, k.Registry, log)
	k.OnStop("hang-up signal", func(context.Context) error { signal.Stop(k.reload.hangups); return nil })
	var err error
	if k.admin, err = newAdmin(cfg.Admin(role), k.Registry, log); err != nil {
		return k, err
	}
	k.OnStop("admin listener", k.admin.stop)
	if err = k.trace(role); err != nil {
		return k, err
	}
	k.Link = newLink()
	conn, err := connect(role, cfg.NATS(), k.Link, log)
	if err != nil {
		return k, err
	}
	k.NATS = conn
	k.OnStop("broker connection", func(ctx context.Context) error { return disconnect(ctx, conn) })
	if k.JS, err = jetstream.New(conn); err != nil {
		return k, fmt.Errorf("open jetstream: %w", err)
	}
	k.admin.checks.add("nats", func(context.Context) error {
		if !conn.IsConnected() {
			return errors.New("not connected to the broker")
		}
		return nil
	})
	return k, nil
}

// trace opens the tracer, if one is configured.
func (k *Kit) trace(role string) (err error) {
	t, err := k.Config.Tracing()
	if err != nil || t.Endpoint == "" {
		return err
	}
	headers := make(map[string]string, len(t.Headers))
	for name, value := range t.Headers {
		headers[name] = value.Reveal()
	}
	k.Spans, err = spans.Open(spans.Options{
		Endpoint: t.Endpoint, Headers: headers, OneIn: t.OneIn, Service: "arauto-" + role,
		Version: version.Read().Revision, Namespace: k.Config.Deployment(), Log: k.Log, Registerer: k.Registry,
	})
	if err == nil {
		k.OnStop("spans", k.Spans.Close)
	}
	return err
}

// Ready registers a readiness check of /readyz. The process is not ready
// before its role has registered the first one, so register when the work can
// begin. A check gets a deadline of two seconds, must honour it, may run
// concurrently with others, and its error is shown: no secrets in it.
func (k *Kit) Ready(name string, check func(context.Context) error) {
	k.admin.checks.add(name, check)
	k.admin.checks.begun.Store(true)
}

// Handle serves one more route on the admin listener; pattern is one of
// http.ServeMux, such as "GET /durability".
func (k *Kit) Handle(pattern string, handler http.Handler) { k.admin.mux.Handle(pattern, handler) }

// Admin is the address of the admin listener.
func (k *Kit) Admin() string { return k.admin.listener.Addr().String() }

// OnStop registers a clean-up, to be run after the role has returned: the
// last registered first, each bounded by the context that it gets. Their
// errors are joined. The broker connection closes after all of them.
func (k *Kit) OnStop(name string, clean func(context.Context) error) { k.cleanups.add(name, clean) }

// work runs the role until it returns, or until it has not returned for too
// long after ctx ended.
func (k *Kit) work(ctx context.Context, run Role) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k.admin.serve(cancel)
	done := make(chan error, 1)
	go func() { done <- run(ctx, k) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		k.admin.checks.stopping.Store(true)
		k.Log.Info("process.stop_requested", zap.String("cause", context.Cause(ctx).Error()))
		err = k.wait(done)
	}
	k.admin.checks.stopping.Store(true)
	if ctx.Err() == nil {
		return err
	}
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	var broken *adminError
	if errors.As(context.Cause(ctx), &broken) {
		err = errors.Join(broken, err)
	}
	return err
}

// wait waits for the role to return, within its grace.
func (k *Kit) wait(done <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), k.limits.grace)
	defer cancel()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop role: it has not returned within %v", k.limits.grace)
	}
}

// stop runs the clean-ups.
func (k *Kit) stop() error { return k.cleanups.run(k.limits.cleanup) }
