package webhook

import (
	"errors"
	"fmt"
	"net"

	"github.com/valyala/fasthttp"

	"arauto/deploy/runtime/commit"
	"arauto/gateway/ingress"
	"arauto/schemas/provider"
)

// read reads the body and returns what the adapter finds in it. The body is not kept.
func (g *Gateway) read(rc *fasthttp.RequestCtx, f ingress.Frame, a authentication, d *delivery) ([]provider.Notice, code) {
	if !a.SignsBody {
		ingress.MarkAuthenticated(rc)
	}
	b, err := g.server.ReadBody(rc, f, a.holder(d.account))
	ingress.MarkReceived(rc)
	if err != nil {
		ingress.CloseLingering(rc)
		return nil, g.unreadable(d, err)
	}
	defer b.Release()
	d.bytes = len(b.Bytes)
	a.webhook.Body = b.Bytes
	if a.SignsBody {
		// The signature covers the decompressed body, because a proxy may compress it on
		// the way. A body that cannot be decompressed is empty to the adapter, and its
		// signature is checked first.
		var decompressed code
		if a.webhook.Body, decompressed = g.decompress(b, a, d); decompressed != accepted && decompressed != invalid {
			return nil, decompressed
		}
		if c := a.verify(d); c != accepted {
			return nil, g.failedAuthentication(rc, d, c)
		}
		if decompressed != accepted {
			return nil, decompressed
		}
		ingress.MarkAuthenticated(rc)
	}
	a.authenticated[d.account][a.credential].Inc()
	if g.options.Overloaded() { // Shed before the body is parsed, which would cost time of webhooks that are stored.
		return nil, g.failed(d, fmt.Errorf("store notification: %w", commit.ErrOverloaded))
	}
	if !a.limits[d.account].allowWebhook(d.started) {
		return nil, g.limited(d)
	}
	if !a.SignsBody {
		var c code
		if a.webhook.Body, c = g.decompress(b, a, d); c != accepted {
			return nil, c
		}
	}
	return a.parse(a.webhook, d)
}

// parse has the adapter read the webhook, and checks the ids that it found.
func (e *endpoint) parse(w provider.Webhook, d *delivery) ([]provider.Notice, code) {
	notices, err := e.Notices(w)
	switch {
	case errors.Is(err, provider.ErrInvalid):
		d.refused = provider.RefusalOf(err)
		return nil, invalid
	case err != nil:
		d.failure = fmt.Errorf("read webhook: %w", err)
		return nil, unavailable
	}
	return notices, accepted
}

// decompress returns the body without gzip, if it has that content encoding.
func (g *Gateway) decompress(b *ingress.Body, a authentication, d *delivery) ([]byte, code) {
	if a.encoding != gzipped {
		return b.Bytes, accepted
	}
	if err := b.Decompress(); err != nil {
		return nil, g.unreadable(d, err)
	}
	return b.Bytes, accepted
}

// unreadable returns the code of readFailure, and records the cause of a 503 in the
// delivery.
func (*Gateway) unreadable(d *delivery, err error) code {
	c := readFailure(err)
	if c == unavailable {
		d.failure = err
	}
	return c
}

// readFailure is the code for a request that could not be read to its end.
func readFailure(err error) code {
	var timeout net.Error
	switch {
	case errors.As(err, new(*fasthttp.ErrSmallBuffer)):
		return headerTooLarge
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, fasthttp.ErrTimeout):
		return tooSlow
	case errors.Is(err, ingress.ErrBodyTooLarge):
		return bodyTooLarge
	case errors.Is(err, ingress.ErrTrailersTooLarge):
		return headerTooLarge
	case errors.Is(err, ingress.ErrBodyMemory):
		return unavailable
	case errors.Is(err, ingress.ErrNotGzip):
		return invalid
	}
	return malformed
}
