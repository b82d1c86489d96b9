// Package ingress serves HTTP/1.1 to clients that are not trusted: it bounds their
// connections, makes TLS handshakes, refuses requests whose framing is ambiguous, and
// reads bodies within a memory limit. It runs on Fiber and fasthttp, and every workaround
// for them is here. It knows nothing of webhooks.
package ingress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// Settings are the limits and timeouts of a Server. The zero value of each field means
// its default.
type Settings struct {
	BodyLimit      int // Bytes of one body; 256 KiB by default.
	BodyMemory     int // Bytes of all bodies while they are read, beyond the first 8 KiB of each; 16 MiB by default.
	HeaderLimit    int // Bytes of request line and headers; 16 KiB by default.
	MaxConnections int // Connections served at once, further ones wait; 2,048 by default, MaxConnections at most.

	TLS     TLS     // Plain HTTP by default.
	Proxies Proxies // None by default.

	ReadTimeout  time.Duration // For one whole request, and for a TLS handshake; 5 s by default.
	WriteTimeout time.Duration // For one answer; 5 s by default.
	IdleTimeout  time.Duration // Between two requests; DefaultIdleTimeout by default.
	StopTimeout  time.Duration // For the requests that are being answered when the server stops; 10 s by default.
}

// MaxConnections is the concurrency of Fiber 2.52.15. Beyond it fasthttp 1.78.0 (server.go,
// Serve) answers new connections with a plain-text 503 of its own. Before the bound may go,
// check that fasthttp lets further connections wait.
const MaxConnections = fiber.DefaultConcurrency

// DefaultIdleTimeout is longer than that of load balancers (Cloudflare 900 s, Google Cloud
// 600 s, Oracle Cloud 300 s, Azure 240 s, nginx and AWS 60 s). If the server closed an idle
// connection first, a request that is just being sent on it would get a 502.
const DefaultIdleTimeout = 920 * time.Second

// WithDefaults returns the settings with every default filled in.
func (s Settings) WithDefaults() Settings {
	s.BodyLimit = cmp.Or(s.BodyLimit, 256<<10)
	s.BodyMemory = cmp.Or(s.BodyMemory, 16<<20)
	s.HeaderLimit = cmp.Or(s.HeaderLimit, 16<<10)
	s.MaxConnections = cmp.Or(s.MaxConnections, 2048)
	s.TLS.ReloadInterval = cmp.Or(s.TLS.ReloadInterval, 2*time.Second)
	s.ReadTimeout = cmp.Or(s.ReadTimeout, 5*time.Second)
	s.WriteTimeout = cmp.Or(s.WriteTimeout, 5*time.Second)
	s.IdleTimeout = cmp.Or(s.IdleTimeout, DefaultIdleTimeout)
	s.StopTimeout = cmp.Or(s.StopTimeout, 10*time.Second)
	return s
}

// Validate returns every setting that is out of range.
func (s Settings) Validate() error {
	var problems []error
	if s.BodyLimit < 0 || s.BodyMemory < 0 || s.HeaderLimit < 0 || s.MaxConnections < 0 ||
		s.ReadTimeout < 0 || s.WriteTimeout < 0 || s.IdleTimeout < 0 || s.StopTimeout < 0 {
		problems = append(problems, errors.New("limits and timeouts must not be negative"))
	}
	if s.MaxConnections > MaxConnections {
		problems = append(problems, fmt.Errorf("at most %d connections can be served", MaxConnections))
	}
	problems = append(problems, s.Proxies.validate())
	return errors.Join(problems...)
}

// Options is everything that a Server needs. Every field but the zero Settings is
// required.
type Options struct {
	Settings

	// Handler answers one request. Its body is not read yet: see Server.ReadBody.
	Handler func(*fasthttp.RequestCtx)

	// ErrorHandler answers a request whose header could not be read.
	ErrorHandler func(*fasthttp.RequestCtx, error)

	// SendContinue reports whether a client that waits for 100 Continue may send its
	// body. It is not called for ambiguous framing. A panic means no.
	SendContinue func(*fasthttp.RequestCtx, Frame) bool

	// ClientCertificates reports whether a handshake asks for the client's certificate. A
	// client without one is served all the same, and no certificate is verified.
	ClientCertificates func() bool

	// PlainHTTPBody is the JSON body of the 400 for a client that speaks plain HTTP to
	// a Server with TLS.
	PlainHTTPBody string

	Log        *zap.Logger
	Registerer prometheus.Registerer
	Clock      func() time.Time
}

// Server serves HTTP on one listener.
type Server struct {
	options     Options
	app         *fiber.App
	memory      *bodyMemory
	evictions   prometheus.Counter
	certificate *certificate // Nil for plain HTTP.

	proxyFailures prometheus.Counter
}

// New makes a Server and registers its metrics. It fails on a certificate that cannot be
// read.
func New(o Options) (*Server, error) {
	o.Settings = o.Settings.WithDefaults()
	s := &Server{
		options: o, memory: newBodyMemory(o.BodyMemory, o.BodyLimit),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arauto_webhook_connections_evicted_total",
			Help: "Connections that were closed because gateway.max_connections were open and another client waited.",
		}),
		proxyFailures: newProxyFailures(),
	}
	used := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arauto_webhook_body_memory_bytes",
		Help: "Bytes of gateway.body_memory that bodies take while they are read. A body that finds none left, or whose account takes a quarter, is answered with 503.",
	}, func() float64 { return float64(s.memory.taken()) })
	for _, collector := range []prometheus.Collector{s.evictions, used, s.proxyFailures} {
		if err := o.Registerer.Register(collector); err != nil {
			return nil, fmt.Errorf("register metrics of connections: %w", err)
		}
	}
	if o.TLS.Certificate != "" || o.TLS.Key != "" {
		var err error
		if s.certificate, err = newCertificate(o); err != nil {
			return nil, err
		}
	}
	s.app = s.newApp()
	return s, nil
}

// newApp makes the Fiber application. Bodies are streamed, so that fasthttp leaves them to
// ReadBody. Immutable is off, because it would copy every value; handlers copy what they
// keep.
func (s *Server) newApp() *fiber.App {
	o := s.options
	app := fiber.New(fiber.Config{
		DisableStartupMessage:        true,
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		BodyLimit:                    o.BodyLimit,
		ReadBufferSize:               o.HeaderLimit,
		ReadTimeout:                  o.ReadTimeout,
		WriteTimeout:                 o.WriteTimeout,
		IdleTimeout:                  o.IdleTimeout,
	})
	app.Use(func(c *fiber.Ctx) error {
		o.Handler(c.Context())
		return nil
	})
	server := app.Server()
	server.ErrorHandler = o.ErrorHandler
	server.CloseOnShutdown = true
	server.SecureErrorLogMessage = true // fasthttp's own log would quote headers.
	server.HeaderReceived, server.ExpectHandler = s.headerReceived, s.expectReceived
	server.ConnState = connStateChanged
	routed, known := server.Handler, app.Config().RequestMethods
	server.Handler = func(rc *fasthttp.RequestCtx) {
		// Fiber 2.52.15 (router.go, handler) answers an unknown method with a plain-text
		// 400 before any handler. Before this may go, check that it calls the handlers.
		if slices.Contains(known, string(rc.Method())) {
			routed(rc)
			return
		}
		o.Handler(rc)
	}
	app.Handler() // Handler builds the routes, which ServeConn needs.
	return app
}

// Run serves ln until ctx ends, and closes ln. Then it accepts no more connections, and
// waits until all requests are answered, for StopTimeout at most. It returns nil if all
// were answered. A Server runs once.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	l := newListener(ln, s.options.MaxConnections)
	l.evicted, l.proxies, l.proxyFailed = s.evictions.Inc, s.options.Proxies, s.proxyFailed
	if s.certificate != nil {
		l.tlsConfig, l.handshakeFailed = s.certificate.config(), s.handshakeFailed
		stop := s.certificate.watch(ctx)
		defer stop()
	}
	served := make(chan error, 1)
	go func() { served <- s.app.Listener(l) }()
	select {
	case err := <-served:
		return errors.Join(errors.New("the listener ended"), err, l.Close())
	case <-ctx.Done():
	}
	// fasthttp 1.78.0 (server.go, ShutdownWithContext) ignores a shutdown before Serve has
	// registered the listener, which the first Accept follows. Before this may go, check
	// that a Serve after the shutdown returns at once.
	select {
	case <-l.accepting:
	case err := <-served:
		return errors.Join(err, l.Close())
	}
	return s.stop(context.WithoutCancel(ctx), l, served)
}

func (s *Server) stop(ctx context.Context, l *listener, served <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.StopTimeout)
	defer cancel()
	problem := s.app.ShutdownWithContext(ctx)
	if err := <-served; err != nil {
		problem = errors.Join(problem, err)
	}
	finished := make(chan struct{})
	go func() {
		l.conns.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		problem = errors.Join(problem, ctx.Err())
		l.closeAll()
	}
	if problem != nil {
		return fmt.Errorf("stop serving: %w", problem)
	}
	return nil
}

// ServeConn serves one connection without a listener until it ends.
func (s *Server) ServeConn(c net.Conn) error {
	bare := &bareConn{Conn: c}
	bare.source = c
	return s.app.Server().ServeConn(bare)
}
