package webhook

import (
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"arauto/schemas/provider"
)

// The rules that the gateway itself holds requests to. Those of a provider's
// credential and body are in schemas/provider.
const (
	ruleFraming         provider.Rule = "framing"          // Every reader of the request agrees on where it ends, and it comes to its end.
	ruleTime            provider.Rule = "time"             // It comes within the read timeout.
	ruleHeaderSize      provider.Rule = "header_size"      // Its header is within the limit.
	rulePath            provider.Rule = "path"             // Its path is one of ours.
	ruleMethod          provider.Rule = "method"           // It is a POST.
	ruleBodySize        provider.Rule = "body_size"        // Its body is within the limit, and its notification within the broker's.
	ruleAccount         provider.Rule = "account"          // Its path names an account.
	rulePathKey         provider.Rule = "path_key"         // Its path has a key of the account.
	ruleContentEncoding provider.Rule = "content_encoding" // Its body is in an encoding that we read.
)

// rules are what a webhook with this code may break, the usual one first. What was
// not refused breaks none, which is "".
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
		return []provider.Rule{provider.RuleCredentialMissing, ruleAccount, rulePathKey}
	case wrongToken:
		return []provider.Rule{provider.RuleCredential}
	case encodedBody:
		return []provider.Rule{ruleContentEncoding}
	case invalid:
		return []provider.Rule{
			provider.RuleBody, provider.RuleKey, provider.RuleType, provider.RuleMissing, provider.RuleID, provider.RuleForm, provider.RuleWord,
		}
	}
	return nil
}

// rule makes sure that a refused webhook has the rule that it breaks.
func (d *delivery) rule(c code) {
	if d.refusal.Rule == "" {
		d.refusal.Rule = c.rules()[0]
	}
}

// How many refused webhooks of one provider and rule are logged as a warning: so
// many at once, and then one in a time. A guess: enough to see what a sender does
// wrong, and a flood of one kind hides no other.
const (
	refusalsAtOnce  = 10
	refusalLogEvery = 10 * time.Second
)

// refusals logs why webhooks were refused.
type refusals struct {
	log *zap.Logger

	mu   sync.Mutex
	kind map[refusalKind]*refusalLog // Both parts of the key are from closed lists.
}

type refusalKind struct {
	provider string
	rule     provider.Rule
}

// refusalLog bounds the warnings about one kind of refusal.
type refusalLog struct {
	limit    *rate.Limiter
	unlogged int // Since the last one that was logged.
}

func newRefusals(log *zap.Logger) *refusals {
	return &refusals{log: log, kind: map[refusalKind]*refusalLog{}}
}

// take reports whether a refusal is to be logged, and how many of its kind were not
// since the last one.
func (r *refusals) take(k refusalKind, now time.Time) (unlogged int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.kind[k]
	if one == nil {
		one = &refusalLog{limit: rate.NewLimiter(rate.Every(refusalLogEvery), refusalsAtOnce)}
		r.kind[k] = one
	}
	if !one.limit.AllowN(now, 1) {
		one.unlogged++
		return 0, false
	}
	unlogged, one.unlogged = one.unlogged, 0
	return unlogged, true
}

// note logs which rule a webhook breaks, and which field or header breaks it, but no
// value of its body, headers or query. The media type is one that can only be a
// code, without its parameters.
func (r *refusals) note(rc *fasthttp.RequestCtx, d *delivery, c code) {
	unlogged, ok := r.take(refusalKind{d.provider, d.refusal.Rule}, d.started)
	if !ok {
		return
	}
	media, _, _ := strings.Cut(string(rc.Request.Header.ContentType()), ";")
	r.log.Warn("webhook.refused",
		zap.String("provider", d.provider), zap.String("account", d.account), zap.String("result", c.label()),
		zap.String("rule", string(d.refusal.Rule)), zap.String("field", d.refusal.Field), zap.Error(d.refusal.Err),
		zap.String("content_type", provider.Code(strings.TrimSpace(media))), zap.Int("bytes", d.bytes),
		zap.String("remote", rc.RemoteAddr().String()), zap.Int("unlogged", unlogged))
}
