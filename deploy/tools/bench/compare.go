package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"arauto/deploy/tools/bench/load"
	"arauto/deploy/tools/bench/stack"
)

// system is what answers or stores the webhooks of a load: a gateway, a rival,
// or without either the committer.
type system struct {
	name    string
	gateway string // The binary.
	rival   string // Of rivals.
	alone   bool   // It makes no batches: the committer as it is asked, the gateway because it sees no monitoring.
	cluster bool   // On three servers.
}

// arauto is the gateway that is measured.
var arauto = system{name: "Arauto", gateway: "gateway"}

// cell is one system at one number of connections in one round. The committer
// runs in the benchmark, so it is its own load and its memory is not known.
type cell struct {
	load.Report
	cpu              []float64 // µs per accepted request: itself, broker, load.
	begin, end, peak float64   // MiB: as the window begins, as it ends, and the most until then.
	broker           string    // The URL of its broker, which runs until the next cell.
}

// cell measures a system on a new broker with an empty store.
func (b *bench) cell(ctx context.Context, s system, n int, o load.Options) (c cell, err error) {
	b.EndAll()
	start := b.Broker
	if s.cluster {
		start = b.Cluster
	}
	broker, err := start(ctx)
	if err != nil {
		return c, err
	}
	c.broker = broker.Address
	var itself *stack.Process
	switch {
	case s.gateway != "":
		seen := *broker
		if s.alone {
			seen.Monitor = ""
		}
		itself, err = b.gateway(ctx, s.gateway, &seen)
	case s.rival != "":
		itself, err = b.Self(ctx, "rival", s.rival, broker.Address)
	}
	if err != nil {
		return c, err
	}
	var before, after []time.Duration
	processes := []*stack.Process{itself, broker}
	if itself != nil {
		processes = append(processes, nil)
	}
	o.Begin = func() {
		before = cpu(processes)
		c.begin, _ = itself.Memory()
	}
	o.End = func() {
		after = cpu(processes)
		c.end, c.peak = itself.Memory()
	}
	if itself == nil {
		c.Report, err = committer(ctx, broker.Address, n, !s.alone, o)
	} else {
		c.Report, err = load.Webhooks(ctx, itself.Address, n, o)
	}
	if err != nil {
		return c, err
	}
	c.cpu = perUnit(before, after, int(c.Accepted.TotalCount()))
	return c, nil
}

// gateway starts a gateway binary.
func (b *bench) gateway(ctx context.Context, binary string, broker *stack.Process) (*stack.Process, error) {
	config, err := b.Configure(broker, "127.0.0.1:1")
	if err != nil {
		return nil, err
	}
	return b.Role(ctx, binary, []string{"gateway", "admin"}, "-config", config)
}

// rivals compares the gateway with the others.
func (b *bench) rivals(ctx context.Context) (string, error) {
	systems := []system{
		arauto, {name: "(a) Fiber, one publish each", rival: "fiber"}, {name: "(b) net/http, one publish each", rival: "net-http"},
		{name: "(c) Arauto's committer, no HTTP"},
	}
	if b.against != "" {
		systems = append(systems, system{name: "(d) " + b.against, gateway: b.against})
	}
	return b.versus(ctx, "A 200 for each webhook, connections kept", systems)
}

// cluster compares batches with messages alone, which the broker gathers into its Raft log,
// on three servers: the gateway with the broker's monitoring, a gateway without it, which
// publishes message by message, and the committer without HTTP, both ways.
func (b *bench) cluster(ctx context.Context) (string, error) {
	clustered := *b
	clustered.stageFolder = "memory" // By the servers themselves, whatever -stage says.
	return clustered.versus(ctx, "A 200 for each webhook, three servers with three replicas in one process", []system{
		{name: arauto.name, gateway: arauto.gateway, cluster: true},
		{name: "Arauto, one by one", gateway: arauto.gateway, alone: true, cluster: true},
		{name: "Arauto's committer, no HTTP", cluster: true},
		{name: "the committer, one by one", alone: true, cluster: true},
	})
}

// versus measures every system in every round, in every second round in the other
// direction, so that what else the machine does reaches all of them alike. Ratios are to
// the first.
func (b *bench) versus(ctx context.Context, title string, systems []system) (string, error) {
	o := b.schedule(usualWindow)
	var rows [][]string
	for _, n := range b.connections {
		cells := make([][]cell, len(systems))
		for round := range b.rounds {
			for i := range systems {
				if round%2 == 1 {
					i = len(systems) - 1 - i
				}
				c, err := b.cell(ctx, systems[i], n, o)
				if err != nil {
					return "", fmt.Errorf("%s at %d connections: %w", systems[i].name, n, err)
				}
				b.say("%4d connections, round %d, %-31s %8s/s  p99 %s ms  %s", n, round+1, systems[i].name, number(c.Rate()), number(c.P99()), c.Others())
				cells[i] = append(cells[i], c)
			}
		}
		for i, s := range systems {
			rows = append(rows, append([]string{fmt.Sprint(n), s.name}, compare(cells[i], cells[0])...))
		}
	}
	return b.titled(title, o.For, b.rounds, []string{
		"connections", "", "requests/s", "p50 ms", "p99 ms", "CPU µs per request: itself + broker + load", "Arauto's rate ÷ this", "Arauto's p99 ÷ this", "not 200",
	}, rows...), nil
}

// compare returns the columns of a system, with Arauto's figures divided by
// those of the same round.
func compare(rounds, ours []cell) []string {
	var cpu []string
	for i := range rounds[0].cpu {
		cpu = append(cpu, number(median(each(rounds, func(c cell) float64 { return c.cpu[i] }))))
	}
	var rates, waits []float64
	for i, c := range rounds {
		rates, waits = append(rates, ours[i].Rate()/c.Rate()), append(waits, ours[i].P99()/c.P99())
	}
	return []string{
		spread(each(rounds, cell.Rate)), spread(each(rounds, cell.P50)), spread(each(rounds, cell.P99)), strings.Join(cpu, " + "),
		spread(rates), spread(waits), joined(rounds, func(c cell) string { return c.Others() }),
	}
}
