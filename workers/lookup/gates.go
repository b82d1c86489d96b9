package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/process"
	"arauto/deploy/process/config"
	"arauto/schemas/provider"
	"arauto/workers/budget"
	"arauto/workers/circuit"
	"arauto/workers/lookup/observe"
	"arauto/workers/outage"
	"arauto/workers/park"
)

// gates make the gates of every provider.
type gates struct {
	js       jetstream.JetStream
	kit      *process.Kit
	cfg      config.Lookup
	name     string // Of this worker.
	clock    *park.Clock
	opened   *circuit.Metrics
	paused   *outage.Metrics
	circuits *circuit.View // Set by bind.
}

// newGates makes everything that does not need the broker.
func newGates(js jetstream.JetStream, k *process.Kit, cfg config.Lookup, clock *park.Clock) (*gates, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("name this worker: %w", err)
	}
	return &gates{
		js: js, kit: k, cfg: cfg, name: config.RoleLookup + " " + id.String(), clock: clock,
		opened: circuit.NewMetrics(k.Registry), paused: outage.NewMetrics(k.Registry),
	}, nil
}

// bind reads the circuits, so that a worker which starts while one is open
// does not ask.
func (g *gates) bind(ctx context.Context) error {
	board, err := circuit.Open(ctx, g.js)
	if err != nil {
		return err
	}
	options := circuit.Defaults(g.name, g.cfg.AskTimeout)
	options.Now = g.clock.Now // When a probe is due concerns every worker.
	g.circuits, err = circuit.NewView(ctx, board, options, g.opened, g.kit.Log)
	return err
}

// of makes the gates of one provider.
func (g *gates) of(p provider.Provider) observe.Gates {
	name, accounts := p.Name, g.cfg.Accounts(p.Name)
	budgets := map[string]*budget.Account{}
	for account := range accounts {
		b := g.cfg.Budget(name, account)
		budgets[account] = budget.New(budget.Limit{Rate: b.Rate, Burst: b.Burst, Concurrency: b.Concurrency}, time.Now)
		g.opened.Expect(name, account)
	}
	return observe.Gates{
		Circuits: g.circuits, Budgets: budgets,
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
