package measure

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"arauto/deploy/tools/bench/broker"
	"arauto/deploy/tools/bench/figures"
	"arauto/deploy/tools/bench/fleet"
	"arauto/deploy/tools/bench/journey"
	"arauto/deploy/tools/bench/load"
)

// How the highest steady rate is searched: by this factor, until the events'
// p99 is beyond the bound or more payments are on their way at the end of the
// window than at its begin, by more than what comes in within that time.
const (
	stepFactor    = 1.25
	steadyP99     = time.Second
	steadyBacklog = 250 * time.Millisecond
)

// pipelineConnections send the webhooks.
const pipelineConnections = 256

// plant is everything that runs in the pipeline.
type plant struct {
	broker, gateway, simulator fleet.Server
	workers                    []fleet.Server
	runs                       uint16
}

// trip is one run through the pipeline. CPU times are from the begin of the
// window until the last event.
type trip struct {
	journey.Report
	rate             float64
	taking, working  time.Duration // Gateway and broker; lookup and normalize.
	playing, sending time.Duration // Simulator; load.
}

// orders is how many orders the CPU times are about.
func (t trip) orders() float64 { return float64(max(t.Events.Count+t.Before, 1)) }

// unsteady says why a rate is too high, "" when it is not.
func (t trip) unsteady() string {
	bad := figures.Bad(t.Webhooks)
	switch {
	case bad != "":
		return bad
	case t.Missing > 0:
		return fmt.Sprintf("%d events missing", t.Missing)
	case float64(t.After) > float64(t.Before)+t.rate*steadyBacklog.Seconds():
		return fmt.Sprintf("backlog grew from %d to %d", t.Before, t.After)
	case t.Events.P99 > steadyP99:
		return "p99 above " + steadyP99.String()
	}
	return ""
}

// pipeline measures from webhook to order event.
func (b *bench) pipeline(ctx context.Context) (string, error) {
	t := figures.Table{Words: 1, Head: []string{
		"lookup + normalize", "webhooks/s", "p50 ms", "p99 ms", "p99.9 ms",
		"CPU ms per order: gateway + broker", "lookup + normalize", "load's and provider's CPU", "",
	}}
	for _, workers := range b.Workers {
		p, err := b.plant(ctx, workers)
		if err != nil {
			return "", err
		}
		rows, err := b.climb(ctx, p, fmt.Sprintf("%d + %d", workers, workers))
		if err != nil {
			return "", err
		}
		t.Rows = append(t.Rows, rows...)
		b.EndAll()
	}
	return fmt.Sprintf("**From webhook to order event**: the provider takes %v, `sync_interval: always`, %s, open loop; "+
		"from when a webhook was due until its event has arrived. Windows of %v; at the rates that were asked for, "+
		"the one of %d with the middle p99, and the range of all.\n\n%s",
		journey.Latency, b.staged(), b.window(standardWindow), b.Rounds, t), nil
}

// plant starts everything.
func (b *bench) plant(ctx context.Context, workers int) (*plant, error) {
	var p plant
	var err error
	if p.broker, err = b.Broker(ctx, broker.SyncAlways); err != nil {
		return nil, err
	}
	if p.simulator, err = b.Simulator(ctx); err != nil {
		return nil, err
	}
	config, err := b.Configure(p.broker, p.simulator)
	if err != nil {
		return nil, err
	}
	if p.gateway, err = b.Gateway(ctx, config); err != nil {
		return nil, err
	}
	for range workers {
		for _, role := range []string{"lookup", "normalize"} {
			worker, err := b.Worker(ctx, role, config)
			if err != nil {
				return nil, err
			}
			p.workers = append(p.workers, worker)
		}
	}
	return &p, nil
}

// climb measures the rates, and from the last of them goes on to where steady
// ones end: up, or down when it was not steady itself.
func (b *bench) climb(ctx context.Context, p *plant, name string) ([][]string, error) {
	var rows [][]string
	var last trip
	for _, rate := range b.Rates {
		all, err := b.trips(ctx, p, rate)
		if err != nil {
			return nil, err
		}
		last = all[len(all)/2]
		note := last.unsteady()
		if note == "" && len(all) > 1 {
			note = fmt.Sprintf("p99 %s to %s", figures.Millis(all[0].Events.P99), figures.Millis(all[len(all)-1].Events.P99))
		}
		rows = append(rows, last.row(name, note))
	}
	factor := stepFactor
	if last.unsteady() != "" {
		factor = 1 / stepFactor
	}
	for range b.Steps {
		next, err := b.trip(ctx, p, last.rate*factor)
		if err != nil {
			return nil, err
		}
		if row := edge(last, next, name); row != nil {
			return append(rows, row), nil
		}
		last = next
	}
	return rows, nil
}

// trips measures a rate as often as there are rounds, and sorts what it found by
// the events' p99.
func (b *bench) trips(ctx context.Context, p *plant, rate float64) ([]trip, error) {
	var all []trip
	for range b.Rounds {
		t, err := b.trip(ctx, p, rate)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	slices.SortStableFunc(all, func(one, two trip) int { return cmp.Compare(one.Events.P99, two.Events.P99) })
	return all, nil
}

// edge is the row of the highest steady rate when steady ones end between the
// two, nil when they do not.
func edge(one, two trip, name string) []string {
	low, high := one, two
	if low.rate > high.rate {
		low, high = high, low
	}
	if low.unsteady() != "" || high.unsteady() == "" {
		return nil
	}
	return low.row(name, fmt.Sprintf("highest steady; at %s/s %s", figures.Count(high.rate), high.unsteady()))
}

func (t trip) row(name, note string) []string {
	perOrder := func(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000/t.orders()) }
	all := t.taking + t.working + t.playing + t.sending
	return []string{
		name, figures.Count(t.rate), figures.Millis(t.Events.P50), figures.Millis(t.Events.P99), figures.Millis(t.Events.P999),
		perOrder(t.taking), perOrder(t.working),
		fmt.Sprintf("%.0f %%", 100*float64(t.playing+t.sending)/float64(max(all, 1))), note,
	}
}

// cpu is what the servers have used together.
func cpu(servers ...fleet.Server) time.Duration {
	var sum time.Duration
	for _, s := range servers {
		sum += s.Usage().CPU
	}
	return sum
}

// trip sends at one rate and follows the events.
func (b *bench) trip(ctx context.Context, p *plant, rate float64) (trip, error) {
	p.runs++
	o := load.Options{
		Connections: pipelineConnections, Rate: rate, Group: p.runs,
		Span: load.Span{Warm: b.Warm, For: b.window(standardWindow)},
	}
	process, err := b.Fleet.Self(ctx, append([]string{
		"journey", "-broker", p.broker.Address, "-gateway", p.gateway.Address, "-simulator", p.simulator.Address,
	}, arguments(o)...)...)
	if err != nil {
		return trip{}, err
	}
	defer process.End()
	t := trip{rate: rate}
	err = process.Lines(ctx, func(word string) {
		if word == load.End {
			return
		}
		// At the last event, what was used since the begin of the window.
		t.taking = cpu(p.broker, p.gateway) - t.taking
		t.working = cpu(p.workers...) - t.working
		t.playing = cpu(p.simulator) - t.playing
		t.sending = process.Usage().CPU - t.sending
	}, &t.Report)
	if err != nil {
		return trip{}, err
	}
	b.say("pipeline: %d workers, %s/s: p50 %s ms, p99 %s ms, on their way %d then %d  %s", len(p.workers), figures.Count(rate),
		figures.Millis(t.Events.P50), figures.Millis(t.Events.P99), t.Before, t.After, t.unsteady())
	return t, nil
}
