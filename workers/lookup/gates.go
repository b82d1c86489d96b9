package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/process"
	"arauto/deploy/process/config"
	"arauto/workers/budget"
	"arauto/workers/circuit"
	"arauto/workers/lookup/observe"
	"arauto/workers/outage"
)

// gates make the gates of every provider.
type gates struct {
	js       jetstream.JetStream
	kit      *process.Kit
	cfg      config.Lookup
	circuits *circuit.View
	opened   *circuit.Metrics
	paused   *outage.Metrics
}

// newGates reads the circuits, so that a worker which starts while one is open
// does not ask.
func newGates(ctx context.Context, js jetstream.JetStream, k *process.Kit, cfg config.Lookup) (gates, error) {
	g := gates{
		js: js, kit: k, cfg: cfg,
		opened: circuit.NewMetrics(k.Registry), paused: outage.NewMetrics(k.Registry),
	}
	board, err := circuit.Open(ctx, js)
	if err != nil {
		return g, err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return g, fmt.Errorf("name this worker: %w", err)
	}
	options := circuit.Defaults(config.RoleLookup+" "+id.String(), cfg.AskTimeout)
	g.circuits, err = circuit.NewView(ctx, board, options, g.opened, k.Log)
	return g, err
}

// of makes the gates of one provider.
func (g gates) of(name string) observe.Gates {
	budgets := map[string]*budget.Account{}
	for account := range g.cfg.Accounts(name) {
		b := g.cfg.Budget(name, account)
		budgets[account] = budget.New(budget.Limit{Rate: b.Rate, Burst: b.Burst, Concurrency: b.Concurrency}, time.Now)
		g.opened.Expect(name, account)
	}
	return observe.Gates{
		Circuits: g.circuits, Budgets: budgets,
		Outage: outage.New(g.js, name, outage.Defaults(), g.paused, g.kit.Log, time.Now),
	}
}
