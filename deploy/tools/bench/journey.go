package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"

	"arauto/deploy/tools/bench/load"
	"arauto/deploy/tools/bench/stack"
	"arauto/schemas/subject"
)

// journeyConnections send the webhooks of a journey: more than are in flight
// at any rate that the gateway can keep up with.
const journeyConnections = 256

// drainTimeout is how long the events of the last webhooks may take.
const drainTimeout = 20 * time.Second

// providerLatency is how long the simulated provider takes for each answer.
const providerLatency = 5 * time.Millisecond

// pipeline is every process between a webhook and its event.
type pipeline struct{ gateway, broker, lookup, normalize, simulator *stack.Process }

// pipeline starts one process of each kind.
func (b *bench) pipeline(ctx context.Context) (p pipeline, err error) {
	b.EndAll()
	if p.broker, err = b.Broker(ctx); err != nil {
		return p, err
	}
	if p.simulator, err = b.Role(ctx, "simulator", []string{"simulator"}); err != nil {
		return p, err
	}
	config, err := b.Configure(p.broker, p.simulator.Address)
	if err != nil {
		return p, err
	}
	if p.gateway, err = b.Role(ctx, "gateway", []string{"gateway", "admin"}, "-config", config); err != nil {
		return p, err
	}
	if p.lookup, err = b.Role(ctx, "lookup", []string{"admin"}, "-config", config); err != nil {
		return p, err
	}
	p.normalize, err = b.Role(ctx, "normalize", []string{"admin"}, "-config", config)
	return p, err
}

// journey is one round at one rate.
type journey struct {
	load.Latency           // From when a webhook was due until its event was stored.
	cpu          []float64 // µs per order: gateway, broker, lookup, normalize, simulator, load.
	problem      string
}

// journeys measures from webhook to order event.
func (b *bench) journeys(ctx context.Context) (string, error) {
	p, err := b.pipeline(ctx)
	if err != nil {
		return "", err
	}
	o := b.schedule(usualWindow)
	var rows [][]string
	for _, rate := range b.rates {
		var rounds []journey
		for range b.rounds {
			o.Rate = float64(rate)
			o.Run++
			j, err := p.journey(ctx, o)
			if err != nil {
				return "", err
			}
			b.say("journey, %d/s: p50 %s ms, p99 %s ms  %s", rate, number(j.Millis(50)), number(j.Millis(99)), j.problem)
			rounds = append(rounds, j)
		}
		row := []string{fmt.Sprint(rate)}
		for _, percent := range []float64{50, 99} {
			row = append(row, spread(each(rounds, func(j journey) float64 { return j.Millis(percent) })))
		}
		for i := range rounds[0].cpu {
			row = append(row, number(median(each(rounds, func(j journey) float64 { return j.cpu[i] }))))
		}
		rows = append(rows, append(row, joined(rounds, func(j journey) string { return j.problem })))
	}
	return b.titled(fmt.Sprintf("From webhook to order event in an open loop, one lookup and one normalize, the provider takes %v", providerLatency),
		o.For, b.rounds, []string{
			"webhooks/s", "p50 ms", "p99 ms", "CPU µs per order: gateway", "broker", "lookup", "normalize", "simulator", "load", "",
		}, rows...), nil
}

// journey sends webhooks of new payments and waits for their events.
func (p pipeline) journey(ctx context.Context, o load.Options) (j journey, err error) {
	count := int(o.Rate*(o.Warm+o.For).Seconds()) + 1
	if err := pay(ctx, p.simulator.Address, o.Run, count); err != nil {
		return j, err
	}
	processes := []*stack.Process{p.gateway, p.broker, p.lookup, p.normalize, p.simulator, nil}
	var before []time.Duration
	o.Begin = func() { before = cpu(processes) }
	o.Start = time.Now()
	sent, err := load.Webhooks(ctx, p.gateway.Address, journeyConnections, o)
	if err != nil {
		return j, err
	}
	events, err := eventTimes(ctx, p.broker.Address, o, sent.Total)
	if err != nil {
		return j, err
	}
	if j.problem = sent.Others(); len(events) < sent.Total {
		j.problem += fmt.Sprintf(" %d events of %d", len(events), sent.Total)
	}
	orders := 0
	j.Latency = load.NewLatency()
	for n, at := range events {
		if at >= o.Warm {
			orders++
		}
		if due := o.Due(n); o.Counted(due) {
			j.Add(at - due)
		}
	}
	j.cpu = perUnit(before, cpu(processes), orders)
	return j, nil
}

// eventTimes reads when the first event of each payment of an open loop was
// stored, by the payment's number and since the start. It waits until so many
// payments have one, at most for drainTimeout.
func eventTimes(ctx context.Context, broker string, o load.Options, payments int) (map[uint64]time.Duration, error) {
	js, err := connect(broker)
	if err != nil {
		return nil, err
	}
	defer js.Conn().Close()
	consumer, err := js.OrderedConsumer(ctx, subject.Orders, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &o.Start,
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	drained := time.AfterFunc(drainTimeout, messages.Stop)
	defer drained.Stop()
	release := context.AfterFunc(ctx, messages.Stop)
	defer release()
	all := map[uint64]time.Duration{}
	for len(all) < payments {
		m, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return all, ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		// orders.<provider>.<account>.<payment>.<kind>.<status>
		p, ours := load.ParsePayment(strings.Split(m.Subject(), ".")[3])
		meta, err := m.Metadata()
		if _, again := all[p.N]; err == nil && ours && p.Group == o.Run && !again {
			all[p.N] = meta.Timestamp.Sub(o.Start)
		}
	}
	messages.Stop()
	return all, nil
}

// connect opens JetStream on a connection of its own.
func connect(broker string) (jetstream.JetStream, error) {
	nc, err := nats.Connect(broker)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(30*time.Second)) // For a list of all subjects.
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	return js, nil
}

// pay makes the simulated provider slow, and the payments of a run paid.
func pay(ctx context.Context, simulator string, run uint16, count int) error {
	base := "http://" + simulator + "/_sim/picpay-checkout/"
	if err := put(base+"fault", fmt.Sprintf(`{"kind":"slow","retry_after":%g}`, providerLatency.Seconds())); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(8) // Enough to keep the simulator busy.
	for n := 0; n < count && ctx.Err() == nil; n++ {
		all.Go(func() error {
			return put(base+"default/payments/"+load.Payment{Group: run, N: uint64(n)}.String(), `{"status":"PAID"}`)
		})
	}
	return all.Wait()
}

func put(url, body string) error {
	r, answer := &fasthttp.Request{}, &fasthttp.Response{}
	r.Header.SetMethod(fasthttp.MethodPut)
	r.SetRequestURI(url)
	r.SetBodyString(body)
	if err := fasthttp.DoTimeout(r, answer, 10*time.Second); err != nil {
		return fmt.Errorf("set up simulator: %w", err)
	}
	if answer.StatusCode() != fasthttp.StatusOK {
		return fmt.Errorf("set up simulator: it answers %d", answer.StatusCode())
	}
	return nil
}
