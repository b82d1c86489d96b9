package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// Limit is the rate limit of one account in one gateway. It limits look-ups too, because
// each accepted webhook leads to at least one.
type Limit struct {
	Rate  int // Webhooks per second; 0 for no limit.
	Burst int // Webhooks at once after a quiet time; twice Rate by default.
	Bytes int // Stored bytes per minute, and at once after a quiet time; 0 for no limit.
}

// errLimited means that the account is over its Limit.
var errLimited = errors.New("account is over its limit")

// classLimited is the class of errLimited in arauto_publish_failures_total.
const classLimited = "limited"

// check returns what is wrong with a limit. With Bytes below MinLimitBytes a large
// notification would never be stored.
func (l Limit) check() error {
	if l.Rate < 0 || l.Burst < 0 || l.Bytes < 0 || l.Bytes > 0 && l.Bytes < MinLimitBytes {
		return fmt.Errorf("limit of %d webhooks per second, %d at once and %d bytes cannot be held", l.Rate, l.Burst, l.Bytes)
	}
	if l.Burst > 0 && l.Rate == 0 {
		return fmt.Errorf("limit of %d webhooks at once has no rate, so it limits nothing", l.Burst)
	}
	return nil
}

// MinLimitBytes is the smallest Bytes of a Limit: eight times the largest notification,
// which TestLargestNotificationFitsTheSmallestLimit measures.
const MinLimitBytes = 64 << 10

// limitedLogInterval is how often webhook.limited is logged for one account. A guess:
// often enough to see when a flood ends.
const limitedLogInterval = time.Minute

// limiter holds one account to its Limit. A nil limiter allows everything.
type limiter struct {
	webhooks, bytes *rate.Limiter // Nil for no limit.
	loggedAt        atomic.Int64  // When webhook.limited was last logged, as Unix time in nanoseconds.
}

func newLimiter(l Limit) *limiter {
	if l.Rate == 0 && l.Bytes == 0 {
		return nil
	}
	limit := &limiter{}
	if l.Rate > 0 {
		limit.webhooks = rate.NewLimiter(rate.Limit(l.Rate), cmp.Or(l.Burst, 2*l.Rate))
	}
	if l.Bytes > 0 {
		limit.bytes = rate.NewLimiter(rate.Limit(float64(l.Bytes)/time.Minute.Seconds()), l.Bytes)
	}
	return limit
}

// allowWebhook reports whether a webhook is within the rate. It is called after
// authentication, so that other clients cannot use up the limit, and before the body is
// parsed.
func (l *limiter) allowWebhook(now time.Time) bool {
	return l == nil || l.webhooks == nil || l.webhooks.AllowN(now, 1)
}

// allowBytes reports whether that many stored bytes are within the limit.
func (l *limiter) allowBytes(now time.Time, bytes int) bool {
	return l == nil || l.bytes == nil || l.bytes.AllowN(now, bytes)
}

// limited refuses a webhook over its account's limit.
func (g *Gateway) limited(d *delivery) code {
	l := d.endpoint.limits[d.account]
	now, last := d.started.UnixNano(), l.loggedAt.Load()
	if now-last >= int64(limitedLogInterval) && l.loggedAt.CompareAndSwap(last, now) {
		g.options.Log.Warn("webhook.limited", zap.String("provider", d.provider), zap.String("account", d.account))
	}
	return g.failed(d, fmt.Errorf("store notification: %w", errLimited))
}
