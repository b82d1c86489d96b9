package lookup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/schemas/provider"
	"arauto/workers/internal/circuit"
	"arauto/workers/internal/outage"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
)

// limitsBuilder makes the Limits of every provider.
type limitsBuilder struct {
	kit      *process.Kit
	cfg      config.Lookup
	name     string // Of this worker, in circuit records.
	clock    *retry.Clock
	opened   *circuit.Metrics
	paused   *outage.Metrics
	circuits *circuit.Cache // Set by bind.
}

// newLimits returns a limitsBuilder. bind must be called before forProvider.
func newLimits(k *process.Kit, cfg config.Lookup, clock *retry.Clock) (*limitsBuilder, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("name this worker: %w", err)
	}
	return &limitsBuilder{
		kit: k, cfg: cfg, name: config.RoleLookup + " " + id.String(), clock: clock,
		opened: circuit.NewMetrics(k.Registry), paused: outage.NewMetrics(k.Registry),
	}, nil
}

// bind reads the circuit breakers' records, so that a worker which starts while one is
// open makes no look-ups.
func (b *limitsBuilder) bind(ctx context.Context) error {
	store, err := circuit.Open(ctx, b.kit.JS)
	if err != nil {
		return err
	}
	options := circuit.Defaults(b.name, b.cfg.AskTimeout)
	options.Now = b.clock.Now // Every worker must agree on when a probe is due.
	b.circuits, err = circuit.NewCache(ctx, store, options, b.opened, b.kit.Log)
	return err
}

// forProvider returns the limits of one provider.
func (b *limitsBuilder) forProvider(p provider.Provider) Limits {
	name, accounts := p.Name, b.cfg.Accounts(p.Name)
	rates := map[string]*ratelimit.Limiter{}
	for account := range accounts {
		limit := b.cfg.RateLimit(name, account)
		rates[account] = ratelimit.New(ratelimit.Limit{Rate: limit.Rate, Burst: limit.Burst, Concurrency: limit.Concurrency}, time.Now)
		b.opened.Expect(name, account)
	}
	return Limits{
		Circuits: b.circuits, Rates: rates,
		Outage: outage.New(b.kit.JS, name, outage.Defaults(withLookUp(p, accounts)), b.paused, b.kit.Log, time.Now),
	}
}

// withLookUp lists the accounts that have a look-up.
func withLookUp(p provider.Provider, accounts map[string]provider.Account) (names []string) {
	for name, account := range accounts {
		if p.Ask == nil {
			continue
		}
		if _, err := p.Ask(provider.Target{}, account); !errors.Is(err, provider.ErrNoLookUp) {
			names = append(names, name)
		}
	}
	return names
}
