package webhook

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"arauto/schemas/provider"
	"arauto/schemas/record"
)

// none stands in metrics and logs for a provider or an account that is not
// ours: what a stranger writes there must not become a label, and a path key
// in the wrong place must not become a log line.
const none = "none"

// delivery is one webhook on its way through, as the log shows it.
type delivery struct {
	started  time.Time
	endpoint *account // Nil for none of ours.
	provider string
	account  string
	id       string // Notification id, "" before there is one.
	payment  string // Subject token: a hash when the id looks personal.
	failure  error  // Why it ended in 503.
	bytes    int    // Of the body: as many as were read, or were declared before that.
	refusal  provider.Refusal
}

func (g *Gateway) begin() *delivery {
	return &delivery{started: g.options.Clock(), provider: none, account: none}
}

// serve answers one request. Whatever happens, there is an answer, one count
// and one log line.
func (g *Gateway) serve(rc *fasthttp.RequestCtx) {
	d := g.begin()
	c := g.receiveSafely(rc, d)
	g.finish(rc, d, c)
}

// refuseBroken answers a request whose header could not be read, or whose
// body ended too early. It is fasthttp's error handler.
func (g *Gateway) refuseBroken(rc *fasthttp.RequestCtx, err error) {
	closeLingering(rc)
	g.finish(rc, g.begin(), broken(err))
}

// receiveSafely turns a panic into a 503: it is our fault, so the provider
// must try again, and the other webhooks must go on.
func (g *Gateway) receiveSafely(rc *fasthttp.RequestCtx, d *delivery) (c code) {
	defer func() {
		if cause := recover(); cause != nil {
			closeLingering(rc)
			d.failure = errors.New("webhook panicked")
			g.metrics.panics.Inc()
			g.options.Log.Error("webhook panicked", zap.String("provider", d.provider),
				zap.String("cause", panicKind(cause)), zap.ByteString("stack", debug.Stack()))
			c = unavailable
		}
	}()
	return g.receive(rc, d)
}

// panicKind describes a panic without repeating what somebody put into it, which
// may be a part of the body. The runtime's own errors hold no such thing.
func panicKind(cause any) string {
	if err, ok := cause.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("panic of type %T", cause)
}

// receive checks the request in the order of the codes and has it stored. What
// the header says is checked before the body is read.
func (g *Gateway) receive(rc *fasthttp.RequestCtx, d *delivery) code {
	h := &rc.Request.Header
	f := frameOf(h)
	if f.last {
		rc.SetConnectionClose() // fasthttp knows the word in lower case and alone only.
	}
	if !f.certain {
		closeLingering(rc)
		return malformed
	}
	d.bytes = f.length
	a, c := g.authenticate(h, f, d)
	if c == accepted && f.expects && f.hasBody() && len(h.Peek(fasthttp.HeaderExpect)) == 0 {
		c = g.failed(d, fmt.Errorf("store notification: %w", ErrOverloaded)) // For that it got no 100 Continue.
	}
	if c != accepted {
		return g.refuse(rc, f, c)
	}
	notice, c := g.read(rc, f, a, d)
	if c != accepted {
		return c
	}
	return g.store(d, notice, headers{h})
}

// read reads the body and finds out which payment the webhook is about. It does
// not keep the body.
func (g *Gateway) read(rc *fasthttp.RequestCtx, f frame, a authentication, d *delivery) (provider.Notice, code) {
	if !a.SignsBody {
		trust(rc)
	}
	b, c := g.readBody(rc, f)
	work(rc)
	if c != accepted {
		closeLingering(rc)
		if c == unavailable {
			d.failure = errOverBudget
		}
		return provider.Notice{}, c
	}
	defer b.release()
	d.bytes = len(b.bytes)
	w := provider.Webhook{Header: headers{&rc.Request.Header}, Body: b.bytes}
	if a.SignsBody {
		// What is signed is what Read reads: a proxy may pack or unpack a body on
		// its way, and the sender knows the unpacked one only. A body that cannot be
		// unpacked is none, and who sends it is still asked for first.
		var unpacked code
		if w.Body, unpacked = g.unpack(b, a, d); unpacked != accepted && unpacked != invalid {
			return provider.Notice{}, unpacked
		}
		if c := g.verify(&a, w, d); c != accepted {
			return provider.Notice{}, c
		}
		if unpacked != accepted {
			return provider.Notice{}, unpacked
		}
		trust(rc)
	}
	a.account.matched[d.account][a.matched].Inc()
	if g.options.Overloaded() { // To parse what will be refused would take time from what will not.
		return provider.Notice{}, g.failed(d, fmt.Errorf("store notification: %w", ErrOverloaded))
	}
	if !a.limits[d.account].takes(d.started) {
		return provider.Notice{}, g.limited(d)
	}
	if !a.SignsBody {
		if w.Body, c = g.unpack(b, a, d); c != accepted {
			return provider.Notice{}, c
		}
	}
	notice, err := a.Read(w)
	switch {
	case errors.Is(err, provider.ErrInvalid):
		d.refusal = provider.RefusalOf(err)
		return notice, invalid
	case err != nil:
		d.failure = fmt.Errorf("read webhook: %w", err)
		return notice, unavailable
	}
	if err := provider.CheckIDs(notice.Payment, notice.Order); err != nil {
		d.refusal = provider.RefusalOf(err)
		return notice, invalid
	}
	return notice, accepted
}

// unpack returns the body behind its coding, where that is gzip.
func (g *Gateway) unpack(b *body, a authentication, d *delivery) ([]byte, code) {
	if a.coding != packed {
		return b.bytes, accepted
	}
	if err := b.unpack(g.options.BodyLimit); err != nil {
		c := broken(err)
		if c == unavailable {
			d.failure = err
		}
		return nil, c
	}
	return b.bytes, accepted
}

// usualNotification is more bytes than most notifications have as JSON.
const usualNotification = 768

// store has the notification stored. It detaches from the caller: a webhook
// that was read is worth storing even if nobody waits for the answer.
func (g *Gateway) store(d *delivery, n provider.Notice, h provider.Header) code {
	id, err := uuid.NewV7()
	if err != nil {
		d.failure = fmt.Errorf("make notification id: %w", err)
		return unavailable
	}
	unit := g.options.Tokens.Unit(d.provider, d.account, n.Payment)
	d.id, d.payment = id.String(), unit.Payment
	body := record.Notification{
		ID: d.id, Provider: d.provider, Account: d.account,
		Kind: n.Kind, Payment: n.Payment, Order: n.Order, ReceivedAt: d.started.UTC(),
		Unknown: n.Unknown, Trace: traceparent(h), Headers: kept(h), Fields: n.Fields,
	}.AppendTo(make([]byte, 0, usualNotification))
	if !d.endpoint.limits[d.account].stores(d.started, len(body)) {
		return g.limited(d)
	}
	err = g.options.Publisher.Store(context.Background(), Message{ID: d.id, Subject: unit.Notification(), Body: body})
	switch {
	case errors.Is(err, ErrTooLarge):
		return bodyTooLarge // The broker would refuse it for ever, so a 503 would lie.
	case err != nil:
		return g.failed(d, err)
	}
	return accepted
}

// failed counts why a notification could not be stored.
func (g *Gateway) failed(d *delivery, err error) code {
	err = g.explain(err)
	d.failure = err
	g.metrics.failures.WithLabelValues(class(err)).Inc()
	return unavailable
}

// explain puts a write error of the broker in front of what it leads to: a broker
// with one confirms nothing, so webhooks time out, and then too many wait. To ask has
// the broker looked at.
func (g *Gateway) explain(err error) error {
	if !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrOverloaded) && !errors.Is(err, ErrStoreFailed) {
		return err
	}
	if why := g.options.StoreFailure(); why != nil {
		return fmt.Errorf("%w: %w: %w", ErrStoreFailed, why, err)
	}
	return err
}

// finish answers, counts and logs.
func (g *Gateway) finish(rc *fasthttp.RequestCtx, d *delivery, c code) {
	g.answer(rc, c)
	took := g.options.Clock().Sub(d.started)
	if c == accepted {
		d.endpoint.accepted.Inc()
		d.endpoint.durable.Observe(took.Seconds())
	} else {
		if c != unavailable {
			d.rule(c)
			g.refusals.note(rc, d, c)
		}
		g.metrics.webhooks.WithLabelValues(d.provider, c.label(), string(d.refusal.Rule)).Inc()
	}
	g.options.Log.Log(severity(c, d.failure), "webhook", zap.String("result", c.label()),
		zap.String("provider", d.provider), zap.String("account", d.account),
		zap.String("notification", d.id), zap.String("payment", d.payment),
		zap.Duration("duration", took), zap.Error(d.failure))
}

// severity is the level of a webhook's log line. Load shedding and an account's
// limit are intended, and a disconnected broker is logged by its connection: these
// three are counted by metrics, and their lines must not each be flushed at once.
func severity(c code, failure error) zapcore.Level {
	onPurpose := errors.Is(failure, ErrOverloaded) || errors.Is(failure, ErrLimited) || errors.Is(failure, errOverBudget)
	if c == unavailable && !onPurpose && !errors.Is(failure, ErrDisconnected) {
		return zapcore.ErrorLevel
	}
	return zapcore.InfoLevel
}
