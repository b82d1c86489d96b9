// Package webhook answers the providers' webhooks: it routes a request to a provider's
// account, authenticates it, reads which payment it is about, has the notification
// stored, and only then answers 200. Connections and framing are in package ingress,
// durability is in package publish.
package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	"arauto/deploy/runtime/spans"
	"arauto/gateway/ingress"
	"arauto/gateway/publish"
	"arauto/schemas/provider"
	"arauto/schemas/subject"
)

// Options is everything that a Gateway needs. Providers, Tokens, Publisher, Log and
// Registerer are required; the zero value of any other field means its default.
type Options struct {
	ingress.Settings

	Providers provider.Set

	// Credentials are, by provider and account, the webhook secrets of a provider that
	// signs and the path keys of a provider that does not. An account has one or two,
	// and each of them authenticates, so that they can be rotated.
	Credentials map[string]map[string][]string

	// Limits are, by provider and account, what this gateway accepts of it. An account
	// without an entry has no limit.
	Limits map[string]map[string]Limit

	Tokens     subject.Tokens
	Publisher  publish.Publisher
	Overloaded func() bool // Whether Publisher sheds now; called for each webhook. Never by default.

	// StoreFailure returns why the broker cannot write until it is restarted, nil while
	// it can. It is called after a webhook that was not stored in time. Always nil by
	// default.
	StoreFailure func() error

	Log        *zap.Logger
	Registerer prometheus.Registerer
	Clock      func() time.Time // time.Now by default.
	Spans      *spans.Tracer    // Of the webhooks that authenticate; nil for none.

	RetryAfter time.Duration // The Retry-After of a 503; 5 s by default.
}

// Gateway answers webhooks. Make it with New and serve it with Run.
type Gateway struct {
	options   Options
	endpoints map[string]*endpoint // By provider.
	metrics   *metrics
	refused   *refusedLog
	server    *ingress.Server
}

// endpoint is one provider with the credentials, limits and counters of its accounts.
type endpoint struct {
	provider.Provider
	credentials   map[string][]string             // By account.
	limits        map[string]*limiter             // By account; nil for none.
	authenticated map[string][]prometheus.Counter // By account, in the order of its credentials.
	accepted      prometheus.Counter
	durable       prometheus.Observer
}

// New makes a Gateway and registers its metrics, or returns every problem of the options.
// An account without a credential, or with an empty one, is a problem. Errors name
// provider and account, never a credential.
func New(o Options) (*Gateway, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	g := &Gateway{options: o, endpoints: make(map[string]*endpoint, len(o.Providers)), refused: newRefusedLog(o.Log)}
	var err error
	if g.metrics, err = newMetrics(o.Registerer, o.Providers.Names()); err != nil {
		return nil, err
	}
	for _, p := range o.Providers {
		limits := make(map[string]*limiter, len(o.Limits[p.Name]))
		for account, l := range o.Limits[p.Name] {
			limits[account] = newLimiter(l)
		}
		g.endpoints[p.Name] = &endpoint{
			Provider: p, credentials: o.Credentials[p.Name], limits: limits,
			authenticated: g.metrics.authenticated(p.Name, o.Credentials[p.Name]),
			accepted:      g.metrics.webhooks.WithLabelValues(p.Name, accepted.label(), ""),
			durable:       g.metrics.durable.WithLabelValues(p.Name),
		}
	}
	g.server, err = ingress.New(ingress.Options{
		Settings:           o.Settings,
		ClientCertificates: slices.ContainsFunc(o.Providers, func(p provider.Provider) bool { return p.ClientCertificate }),

		Handler: g.serve, ErrorHandler: g.refuseUnreadable, SendContinue: g.sendContinue,
		PlainHTTPBody: malformed.envelope("This address speaks HTTPS."),
		Log:           o.Log, Registerer: o.Registerer, Clock: o.Clock,
	})
	if err != nil {
		return nil, fmt.Errorf("make HTTP server: %w", err)
	}
	return g, nil
}

// Run serves ln until ctx ends, and closes ln. It returns nil when every webhook that was
// received has its answer, and an error after StopTimeout. The connection to the broker
// must outlive it. A Gateway runs once.
func (g *Gateway) Run(ctx context.Context, ln net.Listener) error {
	if err := g.server.Run(ctx, ln); err != nil {
		return fmt.Errorf("serve webhooks: %w", err)
	}
	return nil
}

// sendContinue reports whether a client that waits for 100 Continue may send its body.
func (g *Gateway) sendContinue(h *fasthttp.RequestHeader, f ingress.Frame) bool {
	d := g.begin()
	_, c := g.authenticate(h, f, nil, d)
	// fasthttp does not pass the connection to this hook, and so not the client's
	// certificate. A provider that needs the certificate is authenticated again before its
	// body is read.
	if c == notPermitted || c == wrongToken {
		if d.endpoint.ClientCertificate {
			c = accepted
		}
	}
	return c == accepted && !g.options.Overloaded()
}

func (o Options) withDefaults() Options {
	o.Settings = o.Settings.WithDefaults()
	o.RetryAfter = cmp.Or(o.RetryAfter, 5*time.Second)
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

// accountName is a name that a subject token, a path segment and a log line carry without
// escapes.
var accountName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func (o Options) check() error {
	problems := []error{o.Settings.Validate()}
	if o.Publisher == nil || o.Log == nil || o.Registerer == nil {
		problems = append(problems, errors.New("gateway needs a publisher, a logger and a metrics registry"))
	}
	if o.Tokens.Hash("") == (subject.Tokens{}).Hash("") {
		problems = append(problems, errors.New("gateway needs the deployment's keyed tokens"))
	}
	if o.RetryAfter < 0 {
		problems = append(problems, errors.New("retry-after must not be negative"))
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
		if p.Unsigned != "" && strings.ContainsFunc(credential, func(r rune) bool { return !isUnreserved(r) }) {
			return errors.New("a path key has characters other than letters, digits, '-', '.', '_' and '~'")
		}
	}
	return nil
}
