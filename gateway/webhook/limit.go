package webhook

import (
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// Limit is what one gateway takes of one account. Each accepted webhook is at
// least one look-up, so a limit on webhooks is one on look-ups too.
type Limit struct {
	Rate  int // Webhooks per second; 0 for no limit.
	Burst int // Webhooks at once after a quiet time; twice Rate by default.
	Bytes int // Bytes that are stored per minute, and at once after a quiet time; 0 for no limit.
}

// check says what is wrong with a limit. A notification must fit into Bytes,
// or no webhook of the account would ever be stored.
func (l Limit) check() error {
	if l.Rate < 0 || l.Burst < 0 || l.Bytes < 0 || l.Bytes > 0 && l.Bytes < MinLimitBytes {
		return fmt.Errorf("limit of %d webhooks per second, %d at once and %d bytes cannot be held", l.Rate, l.Burst, l.Bytes)
	}
	if l.Burst > 0 && l.Rate == 0 {
		return fmt.Errorf("limit of %d webhooks at once has no rate, so it limits nothing", l.Burst)
	}
	return nil
}

// MinLimitBytes is the smallest Bytes of a Limit: more than any notification
// has, which TestLargestNotificationFitsIntoTheLeastLimit measures.
const MinLimitBytes = 64 << 10

// limitLogEvery is how often one account's refused webhooks are logged as a
// warning. A guess: often enough to see when a flood ends.
const limitLogEvery = time.Minute

// limiter holds one account to its Limit. It is nil for an account without
// one, and then holds nothing back.
type limiter struct {
	webhooks, bytes *rate.Limiter // Nil for no limit.
	warned          atomic.Int64  // When the last warning was logged, as Unix time in nanoseconds.
}

func newLimiter(l Limit) *limiter {
	if l.Rate == 0 && l.Bytes == 0 {
		return nil
	}
	limit := &limiter{}
	if l.Rate > 0 {
		orDefault(&l.Burst, 2*l.Rate)
		limit.webhooks = rate.NewLimiter(rate.Limit(l.Rate), l.Burst)
	}
	if l.Bytes > 0 {
		limit.bytes = rate.NewLimiter(rate.Limit(float64(l.Bytes)/time.Minute.Seconds()), l.Bytes)
	}
	return limit
}

// takes reports whether the account may have one more webhook read. It is
// asked after authentication, so that a stranger cannot use up an account's
// limit, and before the body is parsed.
func (l *limiter) takes(now time.Time) bool {
	return l == nil || l.webhooks == nil || l.webhooks.AllowN(now, 1)
}

// stores reports whether the account may have so many more bytes stored.
func (l *limiter) stores(now time.Time, bytes int) bool {
	return l == nil || l.bytes == nil || l.bytes.AllowN(now, bytes)
}

// limited refuses a webhook over its account's limit, with one warning per
// account and limitLogEvery.
func (g *Gateway) limited(d *delivery) code {
	l := d.endpoint.limits[d.account]
	now, last := d.started.UnixNano(), l.warned.Load()
	if now-last >= int64(limitLogEvery) && l.warned.CompareAndSwap(last, now) {
		g.options.Log.Warn("webhook.limited", zap.String("provider", d.provider), zap.String("account", d.account))
	}
	return g.failed(d, fmt.Errorf("store notification: %w", ErrLimited))
}
