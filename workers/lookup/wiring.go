package lookup

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/schemas/provider"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
)

// limitsBuilder makes the Limits of every provider.
type limitsBuilder struct {
	kit      *process.Kit
	cfg      config.Lookup
	options  breaker.Options
	metrics  *breaker.Metrics
	records  *breaker.Store                           // Set by bind.
	circuits *breaker.Cache                           // Set by bind.
	fleet    *ratelimit.Fleet                         // Set by bind.
	rates    map[string]map[string]*ratelimit.Limiter // By provider and account.
}

// newLimits returns a limitsBuilder. bind must be called before forProvider.
func newLimits(k *process.Kit, cfg config.Lookup, clock *retry.Clock) (*limitsBuilder, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("name this worker: %w", err)
	}
	options := breaker.Defaults(config.RoleLookup+" "+id.String(), cfg.AskTimeout)
	options.Now = clock.Now // Records are timed by the broker.
	return &limitsBuilder{kit: k, cfg: cfg, options: options, metrics: breaker.NewMetrics(k.Registry), rates: map[string]map[string]*ratelimit.Limiter{}}, nil
}

// bind reads the circuit breakers' records, so that a worker which starts while one is
// open makes no look-ups.
func (b *limitsBuilder) bind(ctx context.Context) error {
	var err error
	if b.records, err = breaker.Open(ctx, b.kit.JS); err != nil {
		return err
	}
	if b.fleet, err = ratelimit.OpenFleet(ctx, b.kit.JS, b.cfg.Providers, b.kit.Log); err != nil {
		return err
	}
	b.options.Workers = b.fleet.Size
	b.circuits, err = breaker.NewCache(ctx, b.records, b.options, b.metrics, b.kit.Log)
	return err
}

// actors keep the limits up to date.
func (b *limitsBuilder) actors() []process.Actor {
	return []process.Actor{{Name: "circuits", Run: b.circuits.Run}, {Name: "leases", Run: b.fleet.Run}}
}

// forProvider returns the limits of one provider.
func (b *limitsBuilder) forProvider(p provider.Provider) Limits {
	outage := breaker.NewOutage(b.circuits, p.Name, hostsOf(p, b.cfg.Accounts(p.Name)), breaker.OutageDefaults(b.cfg.AskTimeout))
	return Limits{Circuits: b.circuits, Rates: b.ratesOf(p.Name, b.cfg), Outage: outage}
}

// ratesOf returns the rate limiters of a provider's accounts. An account that had one keeps
// it, with the limit that is configured now.
func (b *limitsBuilder) ratesOf(name string, cfg config.Lookup) map[string]*ratelimit.Limiter {
	before, rates := b.rates[name], map[string]*ratelimit.Limiter{}
	for account := range cfg.Accounts(name) {
		c := cfg.RateLimit(name, account)
		limit := ratelimit.Limit{Rate: c.Rate, Burst: c.Burst, Concurrency: c.Concurrency}
		if rates[account] = before[account]; rates[account] == nil {
			rates[account] = b.fleet.Limiter(name, limit)
		} else {
			rates[account].SetLimit(limit)
		}
		b.metrics.Expect(name, account)
	}
	for account, limiter := range before {
		if rates[account] == nil {
			b.fleet.Forget(limiter)
		}
	}
	b.rates[name] = rates
	return rates
}

// replace makes the workers use a new configuration, or returns an error and changes nothing.
func (b *limitsBuilder) replace(next *config.Config, workers []*Worker) error {
	cfg, err := next.Lookup()
	if err != nil {
		return err
	}
	policies := make([]provider.RetryPolicy, len(workers))
	for i, w := range workers {
		if policies[i], err = policyOf(w.Provider.Name, cfg); err != nil {
			return err
		}
	}
	for i, w := range workers {
		accounts := cfg.Accounts(w.Provider.Name)
		w.Outage.SetHosts(hostsOf(w.Provider, accounts))
		w.Replace(Setup{Accounts: accounts, Policy: policies[i], Rates: b.ratesOf(w.Provider.Name, cfg)})
	}
	return nil
}

// hostsOf returns the upstream host of every account that has a look-up.
func hostsOf(p provider.Provider, accounts map[string]provider.Account) map[string]string {
	hosts := map[string]string{}
	for name, account := range accounts {
		at, ok := p.LookUpURL(account)
		if !ok {
			continue
		}
		hosts[name] = ""
		if at != nil {
			hosts[name] = at.Host
		}
	}
	return hosts
}
