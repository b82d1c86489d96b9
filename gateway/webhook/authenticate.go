package webhook

import (
	"errors"
	"fmt"

	"github.com/valyala/fasthttp"

	"arauto/gateway/ingress"
	"arauto/schemas/provider"
)

// authentication is the endpoint and account of a request whose header gives no reason to
// refuse it.
type authentication struct {
	*endpoint
	credentials []string         // The credentials of the account.
	credential  int              // Index of the credential that the client sent.
	encoding    contentEncoding  // Of the body; never unsupported.
	webhook     provider.Webhook // Without the body, which is not read yet.
}

// authenticate checks everything that the header can tell, in the order of the codes. It
// authenticates the client, unless the provider signs the body.
func (g *Gateway) authenticate(rc *fasthttp.RequestCtx, f ingress.Frame, d *delivery) (authentication, code) {
	h := &rc.Request.Header
	path, query := splitTarget(h.RequestURI())
	to, ok := parsePath(path)
	e, known := (*g.endpoints.Load())[to.provider]
	if !ok || !known || e.Unsigned == "" && to.key != "" {
		return authentication{}, notFound
	}
	d.endpoint, d.provider = e, e.Name
	switch {
	case !h.IsPost():
		return authentication{}, methodNotAllowed
	case f.Length > g.options.BodyLimit:
		return authentication{}, bodyTooLarge
	}
	// An unknown account, a wrong path key and a missing credential get the same answer,
	// so that clients cannot find out which accounts exist.
	credentials, known := e.credentials[to.account]
	if !known {
		d.refused.Rule = ruleAccount
		return authentication{}, notPermitted
	}
	d.account = to.account
	if !g.admits(e.access[to.account], rc, d) {
		return authentication{}, notPermitted
	}
	w := provider.Webhook{
		Method: fasthttp.MethodPost, Path: path, Query: e.Parameters(query),
		Header: headers{h}, At: d.started, Certificate: certificateOf(rc),
	}
	a := authentication{endpoint: e, credentials: credentials, encoding: contentEncodingOf(w.Header), webhook: w}
	if e.Unsigned == "" {
		if e.SignsBody {
			return a, accepted
		}
		c := a.verify(d)
		return a, c
	}
	if a.credential, ok = provider.Match(to.key, credentials); !ok {
		d.refused.Rule = rulePathKey
		return a, notPermitted
	}
	if a.encoding == unsupported {
		return a, encodedBody
	}
	return a, accepted
}

// verify checks a webhook against the account's secrets, and then the body's content
// encoding.
func (a *authentication) verify(d *delivery) code {
	which, err := a.Verify(a.webhook, a.credentials)
	a.credential = which
	switch {
	case err == nil && a.encoding == unsupported:
		return encodedBody
	case err == nil:
		return accepted
	case errors.Is(err, provider.ErrNoCredential):
		d.refused = provider.RefusalOf(err)
		return notPermitted
	case errors.Is(err, provider.ErrBadCredential):
		d.refused = provider.RefusalOf(err)
		return wrongToken
	default:
		d.failure = fmt.Errorf("verify webhook: %w", err)
		return unavailable
	}
}
