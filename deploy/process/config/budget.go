package config

import "cmp"

// Budget returns what one process may ask of an account: what its own section
// says, else its provider's, else lookup.budget.
func (l Lookup) Budget(provider, account string) Budget {
	if b, ok := l.budgets[provider][account]; ok {
		return b
	}
	return l.Default
}

// over is b where it says something, and base elsewhere.
func (b budgetPart) over(base Budget) Budget {
	return Budget{
		Rate:        cmp.Or(b.Rate, base.Rate),
		Burst:       cmp.Or(b.Burst, base.Burst),
		Concurrency: cmp.Or(b.Concurrency, base.Concurrency),
	}
}

// The most that a budget may be: more is no limit, and a slip of the pen.
const (
	mostPerSecond = 10_000
	mostAtOnce    = 4096
)

// checkBudget checks the parts of a budget that the file says; a part that is
// written must not be 0, which would stop an account for good.
func (k *checks) checkBudget(at string, b budgetPart) {
	for _, part := range []struct {
		key        string
		value, top int
	}{{"rate", b.Rate, mostPerSecond}, {"burst", b.Burst, mostPerSecond}, {"concurrency", b.Concurrency, mostAtOnce}} {
		if _, present := k.config.lines[at+"."+part.key]; present {
			k.wrong(at+"."+part.key, between(part.value, 1, part.top))
		}
	}
}
