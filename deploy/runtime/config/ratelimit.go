package config

import "cmp"

// RateLimit returns what one process may ask of an account: what its own section
// says, else its provider's, else lookup.rate_limit.
func (l Lookup) RateLimit(provider, account string) RateLimit {
	if b, ok := l.rateLimits[provider][account]; ok {
		return b
	}
	return l.Default
}

// Limits returns what one gateway takes of the provider's accounts: what an
// account's own section says, else its provider's, else gateway.limit.
func (g Gateway) Limits(provider string) map[string]Limit { return g.limits[provider] }

// over is l where it says something, and base elsewhere.
func (l Limit) over(base Limit) Limit {
	return Limit{Rate: cmp.Or(l.Rate, base.Rate), Burst: cmp.Or(l.Burst, base.Burst), Bytes: cmp.Or(l.Bytes, base.Bytes)}
}

// The bounds of limit.bytes: the largest notification must fit, and more than
// the most is no limit.
const (
	leastLimitBytes = 64 * kib
	mostLimitBytes  = 64 * gib
)

// checkLimit checks the parts of a limit that the file says. In a provider's or
// an account's section 0 would not lift the limit, so it is refused there. rate is
// the one that holds where the section says none.
func (k *checks) checkLimit(at string, l Limit, rate int) {
	check := func(key string, zero bool, wrong string) {
		_, said := k.config.lines[at+"."+key]
		if lifts := zero && at == "gateway.limit"; said && !lifts {
			k.wrong(at+"."+key, wrong)
		}
	}
	check("rate", l.Rate == 0, between(l.Rate, 1, mostPerSecond))
	check("burst", l.Burst == 0, between(l.Burst, 1, mostPerSecond))
	check("bytes", l.Bytes == 0, between(l.Bytes, leastLimitBytes, mostLimitBytes))
	if l.Burst > 0 && cmp.Or(l.Rate, rate) == 0 {
		k.refuse(at+".burst", "limits nothing without a rate; write rate beside it, in webhooks per second")
	}
}

// over is b where it says something, and base elsewhere.
func (b rateLimitPart) over(base RateLimit) RateLimit {
	return RateLimit{
		Rate:        cmp.Or(b.Rate, base.Rate),
		Burst:       cmp.Or(b.Burst, base.Burst),
		Concurrency: cmp.Or(b.Concurrency, base.Concurrency),
	}
}

// The most that a rate limit may be: more is no limit, and a slip of the pen.
const (
	mostPerSecond = 10_000
	mostAtOnce    = 4096
)

// checkRateLimit checks the parts of a rate limit that the file says; a part that is
// written must not be 0, which would stop an account for good.
func (k *checks) checkRateLimit(at string, b rateLimitPart) {
	for _, part := range []struct {
		key        string
		value, top int
	}{{"rate", b.Rate, mostPerSecond}, {"burst", b.Burst, mostPerSecond}, {"concurrency", b.Concurrency, mostAtOnce}} {
		if _, present := k.config.lines[at+"."+part.key]; present {
			k.wrong(at+"."+part.key, between(part.value, 1, part.top))
		}
	}
}
