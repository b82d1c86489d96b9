package lookup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/process"
	"arauto/schemas/provider"
	"arauto/workers/internal/circuit"
	"arauto/workers/internal/outage"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
)

// limits make the gates of every provider.
type limits struct {
	js       jetstream.JetStream
	kit      *process.Kit
	cfg      config.Lookup
	name     string // Of this worker.
	clock    *retry.Clock
	opened   *circuit.Metrics
	paused   *outage.Metrics
	circuits *circuit.Cache // Set by bind.
}

// newLimits makes everything that does not need the broker.
func newLimits(js jetstream.JetStream, k *process.Kit, cfg config.Lookup, clock *retry.Clock) (*limits, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("name this worker: %w", err)
	}
	return &limits{
		js: js, kit: k, cfg: cfg, name: config.RoleLookup + " " + id.String(), clock: clock,
		opened: circuit.NewMetrics(k.Registry), paused: outage.NewMetrics(k.Registry),
	}, nil
}

// bind reads the circuits, so that a worker which starts while one is open
// does not ask.
func (g *limits) bind(ctx context.Context) error {
	board, err := circuit.Open(ctx, g.js)
	if err != nil {
		return err
	}
	options := circuit.Defaults(g.name, g.cfg.AskTimeout)
	options.Now = g.clock.Now // When a probe is due concerns every worker.
	g.circuits, err = circuit.NewCache(ctx, board, options, g.opened, g.kit.Log)
	return err
}

// of makes the gates of one provider.
func (g *limits) of(p provider.Provider) Limits {
	name, accounts := p.Name, g.cfg.Accounts(p.Name)
	budgets := map[string]*ratelimit.Limiter{}
	for account := range accounts {
		b := g.cfg.RateLimit(name, account)
		budgets[account] = ratelimit.New(ratelimit.Limit{Rate: b.Rate, Burst: b.Burst, Concurrency: b.Concurrency}, time.Now)
		g.opened.Expect(name, account)
	}
	return Limits{
		Circuits: g.circuits, Rates: budgets,
		Outage: outage.New(g.js, name, outage.Defaults(asked(p, accounts)), g.paused, g.kit.Log, time.Now),
	}
}

// asked lists the accounts that have a look-up.
func asked(p provider.Provider, accounts map[string]provider.Account) (names []string) {
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
