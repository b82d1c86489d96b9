package webhook

import (
	"errors"
	"fmt"

	"github.com/valyala/fasthttp"

	"arauto/schemas/provider"
)

// authentication is a request that its header gives no reason to refuse.
type authentication struct {
	*account
	credentials []string        // Of the account that it is for.
	matched     int             // Which of them the caller has.
	coding      contentEncoding // Of the body; never foreign.
}

// authenticate checks what the header can say. That includes who is calling, unless
// the provider signs the body.
func (g *Gateway) authenticate(h *fasthttp.RequestHeader, f frame, d *delivery) (authentication, code) {
	at, ok := parsePath(h.RequestURI())
	e, known := g.endpoints[at.provider]
	if !ok || !known || e.Unsigned == "" && at.key != "" {
		return authentication{}, notFound
	}
	d.endpoint, d.provider = e, e.Name
	switch {
	case !h.IsPost():
		return authentication{}, methodNotAllowed
	case f.length > g.options.BodyLimit:
		return authentication{}, bodyTooLarge
	}
	// An unknown account, a wrong path key and a missing credential are one and
	// the same to the caller.
	credentials, known := e.accounts[at.account]
	if !known {
		d.refusal.Rule = ruleAccount
		return authentication{}, notPermitted
	}
	d.account = at.account
	w := provider.Webhook{Header: headers{h}}
	a := authentication{account: e, credentials: credentials, coding: contentEncodingOf(w.Header)}
	if e.Unsigned == "" {
		if e.SignsBody {
			return a, accepted
		}
		c := g.verify(&a, w, d)
		return a, c
	}
	if a.matched, ok = provider.Match(at.key, credentials); !ok {
		d.refusal.Rule = rulePathKey
		return a, notPermitted
	}
	if a.coding == foreign {
		return a, encodedBody
	}
	return a, accepted
}

// verify says who is calling a provider that has webhook secrets, and whether
// the body is one that we read.
func (g *Gateway) verify(a *authentication, w provider.Webhook, d *delivery) code {
	which, err := a.Verify(w, a.credentials)
	a.matched = which
	switch {
	case err == nil && a.coding == foreign:
		return encodedBody
	case err == nil:
		return accepted
	case errors.Is(err, provider.ErrNoCredential):
		d.refusal = provider.RefusalOf(err)
		return notPermitted
	case errors.Is(err, provider.ErrBadCredential):
		d.refusal = provider.RefusalOf(err)
		return wrongToken
	default:
		d.failure = fmt.Errorf("verify webhook: %w", err)
		return unavailable
	}
}

// expectsContinue reports whether a client that waits for 100 Continue shall send its
// body. A panic happens again in the handler, which counts and answers it.
func (g *Gateway) expectsContinue(h *fasthttp.RequestHeader) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	f := frameOf(h)
	if !f.certain || !f.expects || !f.hasBody() {
		return false
	}
	_, c := g.authenticate(h, f, g.begin())
	return c == accepted && !g.options.Overloaded()
}

// refuse gives the code for a request whose header is enough to refuse it. A
// connection that has never carried an authenticated webhook is closed, so that
// strangers hold none. That of a load balancer, which they share with others,
// stays open if so little is left of the request that it can be read.
func (g *Gateway) refuse(rc *fasthttp.RequestCtx, f frame, c code) code {
	keep := trusted(rc) && !f.chunked && f.length <= usualBody && !f.expects
	if keep && f.hasBody() {
		b, read := g.readBody(rc, f)
		if keep = read == accepted; keep {
			b.release()
		}
	}
	if !keep {
		closeLingering(rc)
	}
	return c
}
