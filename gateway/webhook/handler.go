package webhook

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"arauto/deploy/runtime/commit"
	"arauto/deploy/runtime/spans"
	"arauto/gateway/ingress"
	"arauto/schemas/provider"
)

// none is the label, in metrics and logs, of an unknown provider or account. The text of
// the request is not used: it comes from an unauthenticated client, and may be a path key
// in the wrong place.
const none = "none"

// delivery is what is known of one webhook while it is handled, for its log line.
type delivery struct {
	started  time.Time
	endpoint *endpoint // Nil for an unknown provider.
	provider string
	account  string
	id       string // Notification id, "" before it is made.
	payment  string // Subject token: a hash if the id looks personal.
	failure  error  // Why it was answered with 503.
	bytes    int    // Bytes of the body: as declared until it is read.
	refused  provider.Refusal
	span     *spans.Span // Nil unless the webhook is recorded.
}

// webhook describes an authenticated webhook for its span. Its path may have been a longer
// form of the same route.
func (d *delivery) webhook() spans.Webhook {
	route := "/v1/{provider}/notifications"
	switch {
	case d.endpoint.Unsigned != "":
		route = "/v1/{provider}/{account}/{key}/notifications"
	case d.account != defaultAccount:
		route = "/v1/{provider}/{account}/notifications"
	}
	return spans.Webhook{Method: fasthttp.MethodPost, Route: route, Provider: d.provider, Account: d.account, Began: d.started}
}

func (g *Gateway) begin() *delivery {
	return &delivery{started: g.options.Clock(), provider: none, account: none}
}

// serve answers one request, with one count in arauto_webhooks_total and one log line,
// also after a panic.
func (g *Gateway) serve(rc *fasthttp.RequestCtx) {
	d := g.begin()
	c := g.handleSafely(rc, d)
	g.finish(rc, d, c)
}

// refuseUnreadable answers a request whose header could not be read.
func (g *Gateway) refuseUnreadable(rc *fasthttp.RequestCtx, err error) {
	ingress.CloseLingering(rc)
	g.finish(rc, g.begin(), readFailure(err))
}

// handleSafely answers a panic with 503, so that the provider sends the webhook again and
// the process lives on.
func (g *Gateway) handleSafely(rc *fasthttp.RequestCtx, d *delivery) (c code) {
	defer func() {
		if cause := recover(); cause != nil {
			ingress.CloseLingering(rc)
			d.failure = errors.New("webhook panicked")
			g.metrics.panics.Inc()
			g.options.Log.Error("webhook.panicked", zap.String("provider", d.provider),
				zap.String("cause", panicCause(cause)), zap.ByteString("stack", debug.Stack()))
			c = unavailable
		}
	}()
	return g.handle(rc, d)
}

// panicCause describes a panic without its value, which may quote the body. Errors of the
// Go runtime do not.
func panicCause(cause any) string {
	if err, ok := cause.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("panic of type %T", cause)
}

// handle checks a request in the order of the codes and has it stored. Everything that
// the header can tell is checked before the body is read.
func (g *Gateway) handle(rc *fasthttp.RequestCtx, d *delivery) code {
	h := &rc.Request.Header
	f := ingress.FrameOf(h)
	if f.Ambiguous {
		ingress.CloseLingering(rc)
		return malformed
	}
	d.bytes = f.Length
	a, c := g.authenticate(rc, f, d)
	if c == accepted && f.ExpectsContinue && f.HasBody() && len(h.Peek(fasthttp.HeaderExpect)) == 0 {
		c = g.failed(d, fmt.Errorf("store notification: %w", commit.ErrOverloaded)) // sendContinue refused the body because of overload.
	}
	if c != accepted {
		return g.refuse(rc, f, g.failedAuthentication(rc, d, c))
	}
	notices, c := g.read(rc, f, a, d)
	if c != accepted {
		return c
	}
	return g.storeAll(d, notices, headers{h})
}

// certificateOf is the client's certificate of a request's connection, nil for none.
func certificateOf(rc *fasthttp.RequestCtx) []byte {
	state := rc.TLSConnectionState()
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	return state.PeerCertificates[0].Raw
}

// refuse answers a request by its header alone. It closes the connection, unless that has
// carried an authenticated webhook and the rest of the request is small enough to be read:
// clients share the connections of a load balancer.
func (g *Gateway) refuse(rc *fasthttp.RequestCtx, f ingress.Frame, c code) code {
	keep := ingress.Authenticated(rc) && !f.Chunked && f.Length <= ingress.SmallBody && !f.ExpectsContinue
	if keep && f.HasBody() {
		b, err := g.server.ReadBody(rc, f, ingress.Holder{})
		if keep = err == nil; keep {
			b.Release()
		}
	}
	if !keep {
		ingress.CloseLingering(rc)
	}
	return c
}

// finish writes the answer, and counts and logs the webhook.
func (g *Gateway) finish(rc *fasthttp.RequestCtx, d *delivery, c code) {
	g.answer(rc, c)
	if status := rc.Response.StatusCode(); c == unavailable {
		d.span.FailedWith(status)
	} else {
		d.span.Answered(status)
	}
	d.span.End(nil)
	took := g.options.Clock().Sub(d.started)
	if c == accepted {
		d.endpoint.accepted.Inc()
		d.span.Observe(d.endpoint.durable, took.Seconds())
	} else {
		if c != unavailable {
			d.setRule(c)
			g.refused.log(rc, d, c)
		}
		g.metrics.webhooks.WithLabelValues(d.provider, c.label(), string(d.refused.Rule)).Inc()
	}
	g.options.Log.Log(severity(c, d.failure), "webhook.answered", zap.String("result", c.label()),
		zap.String("provider", d.provider), zap.String("account", d.account),
		zap.String("notification", d.id), zap.String("payment", d.payment),
		zap.Duration("duration", took), zap.Error(d.failure))
}

// severity is the level of webhook.answered. Load shedding and limits are intended, and a
// disconnected broker is logged by its connection: they are counted by metrics, and not
// logged as errors, each of which flushes the log.
func severity(c code, failure error) zapcore.Level {
	intended := errors.Is(failure, commit.ErrOverloaded) || errors.Is(failure, errLimited) || errors.Is(failure, errFailures) || errors.Is(failure, ingress.ErrBodyMemory)
	if c == unavailable && !intended && !errors.Is(failure, commit.ErrDisconnected) {
		return zapcore.ErrorLevel
	}
	return zapcore.InfoLevel
}
