// Package journey measures the whole pipeline: webhooks go out at an even
// rate, each for a payment of its own, and the time is taken from when one
// was due until its order event has arrived at a subscriber of ORDERS.
package journey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/tools/bench/latency"
	"arauto/deploy/tools/bench/load"
	"arauto/schemas/subject"
)

// Options say what to send where.
type Options struct {
	Broker    string // URL.
	Gateway   string // host:port.
	Simulator string // host:port.
	Load      load.Options
}

// Report is what one run found.
type Report struct {
	// Webhooks are the requests, see load.Report.
	Webhooks load.Report `json:"webhooks"`
	// Events are the payments due in the window, from due to the event's arrival.
	Events latency.Summary `json:"events"`
	// Missing is how many payments of the whole run had no event at the end.
	Missing uint64 `json:"missing"`
	// Before and After are how many payments were on their way when the window
	// began and ended.
	Before uint64 `json:"before"`
	After  uint64 `json:"after"`
	// Total is the time from the begin of the window until the last event.
	Total time.Duration `json:"total"`
}

// Drained is the line that a run writes when the last event has arrived.
const Drained = "drained"

// patience is how long the events of what was sent may take at the end.
const patience = 20 * time.Second

// Run tells the simulated provider of the payments, sends, and waits until
// every accepted payment has its event, or for a while. It writes load.Begin,
// load.End and Drained to out when it comes to these points.
func Run(ctx context.Context, out io.Writer, o Options) (Report, error) {
	count := uint64(o.Load.Rate*(o.Load.Span.Warm+o.Load.Span.For).Seconds()) + 1
	if err := prepare(ctx, o.Simulator, o.Load.Group, count); err != nil {
		return Report{}, err
	}
	nc, err := nats.Connect(o.Broker)
	if err != nil {
		return Report{}, fmt.Errorf("connect to broker: %w", err)
	}
	defer nc.Close()
	f := newFollower(o.Load, count)
	stop, err := f.follow(ctx, nc)
	if err != nil {
		return Report{}, err
	}
	defer stop()
	o.Load.Started = f.begin
	o.Load.Address = o.Gateway
	sent, err := load.Run(ctx, io.MultiWriter(out, f), o.Load)
	if err != nil {
		return Report{}, err
	}
	r := Report{Webhooks: sent, Missing: f.await(ctx, sent.Everything)}
	if _, err := fmt.Fprintln(out, Drained); err != nil {
		return Report{}, fmt.Errorf("say %s: %w", Drained, err)
	}
	f.finish(&r)
	return r, nil
}

// follow reads the events that are published from now on.
func (f *follower) follow(ctx context.Context, nc *nats.Conn) (stop func(), err error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	consumer, err := js.OrderedConsumer(ctx, subject.Orders, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		return nil, fmt.Errorf("follow events: %w", err)
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) { f.arrive(m.Subject()) })
	if err != nil {
		return nil, fmt.Errorf("follow events: %w", err)
	}
	// A new consumer only delivers what is published after it exists, so wait
	// until it does.
	if _, err := consumer.Info(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("follow events: %w", err), nc.Drain())
	}
	return func() {
		consuming.Stop()
		<-consuming.Closed()
	}, nil
}
