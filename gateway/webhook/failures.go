package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"arauto/schemas/provider"
)

// FailureLimit bounds the failed authentications of one client's address. A failure over it
// is answered with 503 instead of 401 or 400. A webhook with a right credential is never
// limited, because many clients may share an address.
type FailureLimit struct {
	Rate  int // Failed authentications per second; 0 for no limit.
	Burst int // Failed authentications at once after a quiet time; a hundred times Rate by default.
}

func (l FailureLimit) check() error {
	if l.Rate < 0 || l.Burst < 0 || l.Burst > 0 && l.Rate == 0 {
		return fmt.Errorf("limit of %d failed authentications per second and %d at once cannot be held", l.Rate, l.Burst)
	}
	return nil
}

// maxFailing is how many addresses are remembered, the last that failed. Each takes 250
// bytes (estimated), so all of them about 1 MiB.
const maxFailing = 4096

// limitedClientLog is how often webhook.client_limited is logged. A guess: often enough to
// see who fails.
const limitedClientLog = 10 * time.Second

// errFailures means that the client's address is over the FailureLimit.
var errFailures = errors.New("client's address has too many failed authentications")

// failures holds each address to the FailureLimit. A nil failures allows everything.
type failures struct {
	limit FailureLimit
	log   *rate.Limiter // Of webhook.client_limited.

	mu      sync.Mutex
	clients *simplelru.LRU[netip.Prefix, *rate.Limiter]
}

func newFailures(l FailureLimit) (*failures, error) {
	if l.Rate == 0 {
		return nil, nil // A nil failures allows everything.
	}
	clients, err := simplelru.NewLRU[netip.Prefix, *rate.Limiter](maxFailing, nil)
	if err != nil {
		return nil, fmt.Errorf("remember addresses: %w", err)
	}
	l.Burst = cmp.Or(l.Burst, 100*l.Rate)
	return &failures{limit: l, log: rate.NewLimiter(rate.Every(limitedClientLog), 1), clients: clients}, nil
}

// allow reports whether a failed authentication of an address is within the limit. All
// addresses that are not known share one limit.
func (f *failures) allow(a netip.Addr, now time.Time) bool {
	network := networkOf(a)
	f.mu.Lock()
	defer f.mu.Unlock()
	one, known := f.clients.Get(network)
	if !known {
		one = rate.NewLimiter(rate.Limit(f.limit.Rate), f.limit.Burst)
		f.clients.Add(network, one)
	}
	return one.AllowN(now, 1)
}

// networkOf is an IPv4 address, or the /64 of an IPv6 address, because each customer of a
// network has at least one of those (RFC 6177).
func networkOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	network, err := a.Prefix(bits)
	if err != nil { // An invalid address.
		return netip.Prefix{}
	}
	return network
}

// failedAuthentication returns the code of a refused webhook: 503 if its client failed to
// authenticate and is over the limit, else c. A timestamp is looked at only if the signature
// is right, so that is no failure of the credential.
func (g *Gateway) failedAuthentication(rc *fasthttp.RequestCtx, d *delivery, c code) code {
	if g.failures == nil || c != notPermitted && c != wrongToken || d.refused.Rule == provider.RuleTimestamp {
		return c
	}
	client := g.server.ClientAddress(rc)
	if g.failures.allow(client, d.started) {
		return c
	}
	g.metrics.limitedClients.WithLabelValues(d.provider).Inc()
	if g.failures.log.AllowN(d.started, 1) {
		d.setRule(c)
		g.options.Log.Warn("webhook.client_limited", zap.String("provider", d.provider), zap.String("account", d.account),
			zap.String("rule", string(d.refused.Rule)), zap.Stringer("client", client))
	}
	d.refused, d.failure = provider.Refusal{}, errFailures
	return unavailable
}
