package webhook

import (
	"net/netip"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"arauto/schemas/provider"
)

// The rules of the gateway itself, each in the words of a webhook that keeps it. The rules
// about credentials and bodies are in schemas/provider.
const (
	ruleFraming    provider.Rule = "framing"     // Its framing is not ambiguous, and the request is complete.
	ruleTime       provider.Rule = "time"        // It was received within the read timeout.
	ruleHeaderSize provider.Rule = "header_size" // Its header is within the limit.
	rulePath       provider.Rule = "path"        // Its path is a route of a known provider.
	ruleMethod     provider.Rule = "method"      // It is a POST.
	ruleBodySize   provider.Rule = "body_size"   // Its body is within the limit, and its notification within the broker's.
	ruleAccount    provider.Rule = "account"     // Its path names an account.
	rulePathKey    provider.Rule = "path_key"    // Its path has a key of the account.

	ruleNetwork           provider.Rule = "network"            // It comes from one of the account's networks.
	ruleClientCertificate provider.Rule = "client_certificate" // Its client has a certificate that the account takes.

	ruleContentEncoding provider.Rule = "content_encoding" // Its content encoding is supported.
)

// rules lists the rules that a webhook with this code may break, the usual rule first. It
// is "" for a code that is no refusal.
func (c code) rules() []provider.Rule {
	switch c {
	case accepted, unavailable:
		return []provider.Rule{""}
	case malformed:
		return []provider.Rule{ruleFraming}
	case tooSlow:
		return []provider.Rule{ruleTime}
	case headerTooLarge:
		return []provider.Rule{ruleHeaderSize}
	case notFound:
		return []provider.Rule{rulePath}
	case methodNotAllowed:
		return []provider.Rule{ruleMethod}
	case bodyTooLarge:
		return []provider.Rule{ruleBodySize}
	case notPermitted:
		return []provider.Rule{provider.RuleCredentialMissing, ruleAccount, rulePathKey, ruleNetwork, ruleClientCertificate}
	case wrongToken:
		return []provider.Rule{provider.RuleCredential, provider.RuleTimestamp}
	case encodedBody:
		return []provider.Rule{ruleContentEncoding}
	case invalid:
		return []provider.Rule{
			provider.RuleBody, provider.RuleKey, provider.RuleType, provider.RuleMissing, provider.RuleID, provider.RuleForm, provider.RuleWord,
		}
	}
	return nil
}

// setRule sets the usual rule of the code, unless a rule is known.
func (d *delivery) setRule(c code) {
	if d.refused.Rule == "" {
		d.refused.Rule = c.rules()[0]
	}
}

// The rate limit of webhook.refused, for each provider and rule: refusedLogBurst lines at
// once, and then one per refusedLogInterval. A guess: enough to see what a sender does
// wrong, and a flood that breaks one rule hides no other.
const (
	refusedLogBurst    = 10
	refusedLogInterval = 10 * time.Second
)

// refusedLog logs why webhooks were refused.
type refusedLog struct {
	logger *zap.Logger
	client func(*fasthttp.RequestCtx) netip.Addr

	mu    sync.Mutex
	kinds map[refusedKind]*refusedCount // Both parts of the key are from closed lists.
}

type refusedKind struct {
	provider string
	rule     provider.Rule
}

// refusedCount bounds the lines about one provider and rule.
type refusedCount struct {
	limit    *rate.Limiter
	unlogged int // Refused webhooks since the last line.
}

func newRefusedLog(logger *zap.Logger, client func(*fasthttp.RequestCtx) netip.Addr) *refusedLog {
	return &refusedLog{logger: logger, client: client, kinds: map[refusedKind]*refusedCount{}}
}

// allow reports whether a refused webhook is logged, and how many of its kind were not
// since the last line.
func (r *refusedLog) allow(k refusedKind, now time.Time) (unlogged int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.kinds[k]
	if one == nil {
		one = &refusedCount{limit: rate.NewLimiter(rate.Every(refusedLogInterval), refusedLogBurst)}
		r.kinds[k] = one
	}
	if !one.limit.AllowN(now, 1) {
		one.unlogged++
		return 0, false
	}
	unlogged, one.unlogged = one.unlogged, 0
	return unlogged, true
}

// log logs which rule a webhook breaks, and in which field or header. It logs no value of
// body, headers or query but the media type: see mediaType.
func (r *refusedLog) log(rc *fasthttp.RequestCtx, d *delivery, c code) {
	unlogged, ok := r.allow(refusedKind{d.provider, d.refused.Rule}, d.started)
	if !ok {
		return
	}
	r.logger.Warn("webhook.refused",
		zap.String("provider", d.provider), zap.String("account", d.account), zap.String("result", c.label()),
		zap.String("rule", string(d.refused.Rule)), zap.String("field", d.refused.Field), zap.Error(d.refused.Err),
		zap.String("content_type", mediaType(string(rc.Request.Header.ContentType()))), zap.Int("bytes", d.bytes),
		zap.String("remote", rc.RemoteAddr().String()), zap.Stringer("client", r.client(rc)), zap.Int("unlogged", unlogged))
}
