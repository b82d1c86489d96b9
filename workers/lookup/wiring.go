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
	records  *breaker.Store   // Set by bind.
	circuits *breaker.Cache   // Set by bind.
	fleet    *ratelimit.Fleet // Set by bind.
}

// newLimits returns a limitsBuilder. bind must be called before forProvider.
func newLimits(k *process.Kit, cfg config.Lookup, clock *retry.Clock) (*limitsBuilder, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("name this worker: %w", err)
	}
	options := breaker.Defaults(config.RoleLookup+" "+id.String(), cfg.AskTimeout)
	options.Now = clock.Now // Records are timed by the broker.
	return &limitsBuilder{kit: k, cfg: cfg, options: options, metrics: breaker.NewMetrics(k.Registry)}, nil
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
	name, accounts := p.Name, b.cfg.Accounts(p.Name)
	rates := map[string]*ratelimit.Limiter{}
	for account := range accounts {
		limit := b.cfg.RateLimit(name, account)
		rates[account] = b.fleet.Limiter(name, ratelimit.Limit{Rate: limit.Rate, Burst: limit.Burst, Concurrency: limit.Concurrency})
		b.metrics.Expect(name, account)
	}
	outage := breaker.NewOutage(b.circuits, name, hostsOf(p, accounts), breaker.OutageDefaults(b.cfg.AskTimeout))
	return Limits{Circuits: b.circuits, Rates: rates, Outage: outage}
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
