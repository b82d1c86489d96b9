// Package webhook takes the providers' webhooks in: it checks who is calling,
// keeps what matters, has it stored, and only then answers 200. It knows
// nothing of configuration files and processes; Options say everything.
package webhook

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	"arauto/schemas/provider"
	"arauto/schemas/subject"
)

// Options is everything that a Gateway needs. Providers, Tokens, Publisher,
// Log and Registerer are required; a zero limit or time means its default.
type Options struct {
	Providers provider.Set

	// Credentials are, by provider and account, the webhook secrets of a
	// provider that signs and the path keys of one that does not. Either of an
	// account's one or two credentials opens it, so that they can be rotated.
	Credentials map[string]map[string][]string

	// Limits are, by provider and account, what this gateway takes of it. An
	// account that is not there has no limit.
	Limits map[string]map[string]Limit

	Tokens     subject.Tokens
	Publisher  Publisher
	Overloaded func() bool // Whether Publisher refuses at the moment; asked for each webhook. Never by default.

	// StoreFailure says why the broker writes nothing until it is restarted, nil while
	// it writes. It is asked after a webhook that was not confirmed in time. Nil by
	// default.
	StoreFailure func() error

	Log        *zap.Logger
	Registerer prometheus.Registerer
	Clock      func() time.Time // time.Now by default.

	RetryAfter time.Duration // What a 503 asks for; 5 s by default.

	BodyLimit      int // Bytes of one body; 256 KiB by default.
	BodyMemory     int // Bytes of all bodies while they are read, beyond the first 8 KiB of each; 16 MiB by default.
	HeaderLimit    int // Bytes of request line and headers; 16 KiB by default.
	MaxConnections int // Open at once, more wait to be served; 2,048 by default, MostConnections at the most.

	TLS TLS // Plain HTTP by default.

	ReadTimeout  time.Duration // For one whole request, and for a TLS handshake; 5 s by default.
	WriteTimeout time.Duration // For one answer; 5 s by default.
	IdleTimeout  time.Duration // Between two requests; DefaultIdleTimeout by default.
	StopTimeout  time.Duration // For the requests in flight at the end; 10 s by default.
}

// MostConnections is how many Fiber serves at once. To more it would answer with
// words of its own, and wait for each of them where it accepts.
const MostConnections = fiber.DefaultConcurrency

// DefaultIdleTimeout is above what load balancers keep an idle connection for
// by default: Cloudflare 900 s, Google Cloud 600 s, Oracle Cloud 300 s, Azure
// 240 s, nginx and AWS 60 s. If the gateway were first to close one, the load
// balancer could be sending a request at that moment, and would answer 502.
const DefaultIdleTimeout = 920 * time.Second

// Gateway answers webhooks. Make one with New and let Run serve it.
type Gateway struct {
	options   Options
	endpoints map[string]*account
	metrics   *metrics
	budget    bodyBudget // Of the bodies that are being read.
	refusals  *refusals
	app       *fiber.App

	certificate *certificate // Nil for plain HTTP.
}

// account is one provider with its accounts' credentials, and what counts its
// accepted webhooks.
type account struct {
	provider.Provider
	accounts map[string][]string
	limits   map[string]*limiter             // By account; nil for none.
	matched  map[string][]prometheus.Counter // By account, in the order of its credentials.
	accepted prometheus.Counter
	durable  prometheus.Observer
}

// New returns a Gateway, or every problem of the options at once. It fails
// closed: an account without a credential, or with an empty one, is a
// problem. Errors name provider and account, never a credential.
func New(o Options) (*Gateway, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	g := &Gateway{options: o, endpoints: make(map[string]*account, len(o.Providers)), refusals: newRefusals(o.Log)}
	g.budget.limit, g.budget.unpacking = int64(o.BodyMemory), make(chan struct{}, mostUnpacking)
	var err error
	if g.metrics, err = newMetrics(o.Registerer, o.Providers.Names()); err != nil {
		return nil, err
	}
	for _, p := range o.Providers {
		limits := make(map[string]*limiter, len(o.Limits[p.Name]))
		for account, l := range o.Limits[p.Name] {
			limits[account] = newLimiter(l)
		}
		g.endpoints[p.Name] = &account{
			Provider: p, accounts: o.Credentials[p.Name], limits: limits,
			matched:  g.metrics.matched(p.Name, o.Credentials[p.Name]),
			accepted: g.metrics.webhooks.WithLabelValues(p.Name, accepted.label(), ""),
			durable:  g.metrics.durable.WithLabelValues(p.Name),
		}
	}
	if o.TLS != (TLS{}) {
		if g.certificate, err = newCertificate(o); err != nil {
			return nil, err
		}
	}
	g.app = g.newApp()
	return g, nil
}

// newApp builds the Fiber application. Bodies are streamed, so that fasthttp
// leaves them to readBody.
//
// Immutable stays off: it would copy what Fiber returns, and nothing is taken
// from Fiber's context but what this package copies itself.
func (g *Gateway) newApp() *fiber.App {
	o := g.options
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
		g.serve(c.Context())
		return nil
	})
	s := app.Server()
	s.ErrorHandler = g.refuseBroken
	s.CloseOnShutdown = true
	s.SecureErrorLogMessage = true // Parse errors would quote the headers.
	s.HeaderReceived = g.headerReceived
	s.ConnState = stateChanged
	routed, known := s.Handler, app.Config().RequestMethods
	s.Handler = func(rc *fasthttp.RequestCtx) {
		// Fiber answers a method that it does not know with a plain 400; our
		// callers get 404 or 405 for it like for any other.
		if slices.Contains(known, string(rc.Method())) {
			routed(rc)
			return
		}
		g.serve(rc)
	}
	return app
}

func (o Options) withDefaults() Options {
	orDefault(&o.RetryAfter, 5*time.Second)
	orDefault(&o.BodyLimit, 256<<10)
	orDefault(&o.HeaderLimit, 16<<10)
	orDefault(&o.BodyMemory, 16<<20)
	orDefault(&o.MaxConnections, 2048)
	orDefault(&o.ReadTimeout, 5*time.Second)
	orDefault(&o.WriteTimeout, 5*time.Second)
	orDefault(&o.IdleTimeout, DefaultIdleTimeout)
	orDefault(&o.StopTimeout, 10*time.Second)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Overloaded == nil {
		o.Overloaded = func() bool { return false }
	}
	if o.StoreFailure == nil {
		o.StoreFailure = func() error { return nil }
	}
	return o
}

func orDefault[T int | time.Duration](value *T, standard T) {
	if *value == 0 {
		*value = standard
	}
}

// accountName is what a subject token, a path segment and a log line can all
// carry as it stands.
var accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func (o Options) check() error {
	var problems []error
	if o.Publisher == nil || o.Log == nil || o.Registerer == nil {
		problems = append(problems, errors.New("gateway needs a publisher, a logger and a metrics registry"))
	}
	if o.Tokens.Hash("") == (subject.Tokens{}).Hash("") {
		problems = append(problems, errors.New("gateway needs the deployment's keyed tokens"))
	}
	if o.BodyLimit < 0 || o.BodyMemory < 0 || o.HeaderLimit < 0 || o.MaxConnections < 0 || o.RetryAfter < 0 ||
		o.ReadTimeout < 0 || o.WriteTimeout < 0 || o.IdleTimeout < 0 || o.StopTimeout < 0 {
		problems = append(problems, errors.New("limits and times of the gateway must not be negative"))
	}
	if o.MaxConnections > MostConnections {
		problems = append(problems, fmt.Errorf("at most %d connections can be served", MostConnections))
	}
	for name, accounts := range o.Limits {
		for account, l := range accounts {
			if err := l.check(); err != nil {
				problems = append(problems, fmt.Errorf("account %s of %s: %w", account, name, err))
			}
		}
	}
	for name, accounts := range o.Credentials {
		p, ok := o.Providers.Get(name)
		if !ok {
			problems = append(problems, fmt.Errorf("credentials name the unknown provider %q", name))
			continue
		}
		for account, credentials := range accounts {
			if err := checkAccount(p, account, credentials); err != nil {
				problems = append(problems, fmt.Errorf("account %s of %s: %w", account, name, err))
			}
		}
	}
	return errors.Join(problems...)
}

func checkAccount(p provider.Provider, account string, credentials []string) error {
	if !accountName.MatchString(account) {
		return fmt.Errorf("name does not match %s", accountName)
	}
	if len(credentials) == 0 {
		return errors.New("it has no credential")
	}
	if len(credentials) > len(ordinals) {
		return fmt.Errorf("it has more than %d credentials", len(ordinals))
	}
	for _, credential := range credentials {
		if credential == "" {
			return errors.New("a credential is empty")
		}
		if p.Unsigned != "" && strings.ContainsFunc(credential, func(r rune) bool { return !unreserved(r) }) {
			return errors.New("a path key has characters other than letters, digits, '-', '.', '_' and '~'")
		}
	}
	return nil
}
