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
	"sync/atomic"
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

	Accounts

	// Failures limits the failed authentications of each address. No limit by default.
	Failures FailureLimit

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
	endpoints atomic.Pointer[map[string]*endpoint] // By provider. Replace replaces all of them.
	metrics   *metrics
	refused   *refusedLog
	failures  *failures
	server    *ingress.Server
}

// New makes a Gateway and registers its metrics, or returns every problem of the options.
// An account without a credential, or with an empty one, is a problem. Errors name
// provider and account, never a credential.
func New(o Options) (*Gateway, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	g := &Gateway{options: o}
	var err error
	if g.metrics, err = newMetrics(o.Registerer, o.Providers.Names()); err != nil {
		return nil, err
	}
	if g.failures, err = newFailures(o.Failures); err != nil {
		return nil, err
	}
	g.replace(o.Accounts)
	g.server, err = ingress.New(ingress.Options{
		Settings:           o.Settings,
		ClientCertificates: g.wantsClientCertificates,

		Handler: g.serve, ErrorHandler: g.refuseUnreadable, SendContinue: g.sendContinue,
		PlainHTTPBody: malformed.envelope("This address speaks HTTPS."),
		Log:           o.Log, Registerer: o.Registerer, Clock: o.Clock,
	})
	if err != nil {
		return nil, fmt.Errorf("make HTTP server: %w", err)
	}
	g.refused = newRefusedLog(o.Log, g.server.ClientAddress)
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

// sendContinue reports whether a client that waits for 100 Continue may send its body: only one
// that the header gives no reason to refuse.
func (g *Gateway) sendContinue(rc *fasthttp.RequestCtx, f ingress.Frame) bool {
	_, c := g.authenticate(rc, f, g.begin())
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
	problems = append(problems, o.Failures.check())
	return errors.Join(append(problems, o.Accounts.check(o.Providers))...)
}
