package lookup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/process"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/providerhttp"
	"arauto/workers/internal/retry"
)

// grace is how long look-ups in flight may finish after a stop. It is longer than the
// default ask_timeout of 10 s.
const grace = 12 * time.Second

// usageInterval is how often the bytes of LOOKUP_RETRIES are read. A guess: at full
// speed a few megabytes are scheduled within it.
const usageInterval = 2 * time.Second

// Run runs the role until ctx ends: for each provider a worker with one consumer for
// fresh notifications and one for due look-ups, so that fresh ones do not wait behind
// retries.
func Run(ctx context.Context, k *process.Kit) error {
	cfg, err := k.Config.Lookup()
	if err != nil {
		return err
	}
	names := durables(cfg.Providers)
	k.Registry.MustRegister(process.NewConsumerCollector(k.JS, names))
	clock := retry.NewClock(k.JS, nil)
	shared := Options{
		Tokens: cfg.Tokens, Log: k.Log, Metrics: NewMetrics(k.Registry), Now: clock.Now, Jitter: rand.Float64,
		Ask: providerhttp.New(providerhttp.Options{
			Timeout: cfg.AskTimeout, AnswerLimit: int64(cfg.AnswerLimit), Connections: 2 * cfg.Concurrency, Now: time.Now,
		}),
	}
	k.OnStop("look-up connections", func(context.Context) error { shared.Ask.Close(); return nil })
	limits, err := newLimits(k, cfg, clock)
	if err != nil {
		return err
	}
	statuses, err := k.Committer(subject.Statuses)
	if err != nil {
		return err
	}
	retries, err := k.Committer(subject.LookupRetries)
	if err != nil {
		return err
	}
	bound := map[process.ConsumerName]jetstream.Consumer{}
	bind := func(ctx context.Context) error {
		if err := clock.Set(ctx); err != nil {
			return err
		}
		if err := open(ctx, k.JS, &shared); err != nil {
			return err
		}
		shared.Observations.Writes, shared.Retries.Writes = statuses, retries
		shared.Retries.SetLimit(topology.RetriesRoom(k.Config.Topology()), usageInterval)
		if err := limits.bind(ctx); err != nil {
			return err
		}
		for _, name := range names {
			var err error
			if bound[name], err = k.JS.Consumer(ctx, name.Stream, name.Consumer); err != nil {
				return fmt.Errorf("bind consumer %s: %w", name.Consumer, err)
			}
		}
		return nil
	}
	if err := await(ctx, k, names, bind); err != nil {
		return err
	}
	store := durability.NewHealth(k.Config.NATS().Monitors)
	actors := append(limits.actors(), process.Actor{Name: "clock", Run: clock.Run})
	counts := consume.NewMetrics(k.Registry)
	for _, name := range cfg.Providers {
		worker, err := newWorker(shared, limits, name, cfg)
		if err != nil {
			return err
		}
		for durable, handle := range map[process.ConsumerName]consume.Handler{
			{Stream: subject.Notifications, Consumer: subject.LookupConsumer(name)}:    worker.HandleNotification,
			{Stream: subject.LookupRetries, Consumer: subject.LookupDueConsumer(name)}: worker.HandleDue,
		} {
			actors = append(actors, process.Actor{Name: durable.Consumer, Run: func(ctx context.Context) error {
				return consume.Run(ctx, consume.Options{
					Consumer: bound[durable], Name: durable.Consumer, Concurrency: cfg.Concurrency,
					AckWait: topology.AckWait, Grace: grace, Log: k.Log, Metrics: counts, Explain: store.Explain,
					Limit: worker.room,
				}, handle)
			}})
		}
	}
	k.Ready("store", store.Stored)
	k.Ready("consumers", func(ctx context.Context) error {
		for _, durable := range bound {
			if _, err := durable.Info(ctx); err != nil {
				return fmt.Errorf("read consumer: %w", err)
			}
		}
		return nil
	})
	return process.Together(ctx, actors...)
}

// await waits for the streams and consumers that the workers need, and binds to them.
func await(ctx context.Context, k *process.Kit, names []process.ConsumerName, bind func(context.Context) error) error {
	consumers := make([]string, len(names))
	for i, n := range names {
		consumers[i] = n.Consumer
	}
	streams := []string{subject.Notifications, subject.LookupRetries, subject.Statuses, subject.DeadLetters, subject.Circuits, subject.Leases}
	return topology.Await(ctx, k.JS, k.Config.Topology(), k.Log, streams, consumers, bind)
}

// durables lists the consumers of the given providers.
func durables(names []string) []process.ConsumerName {
	var all []process.ConsumerName
	for _, name := range names {
		all = append(all,
			process.ConsumerName{Stream: subject.Notifications, Consumer: subject.LookupConsumer(name)},
			process.ConsumerName{Stream: subject.LookupRetries, Consumer: subject.LookupDueConsumer(name)})
	}
	return all
}

// open opens the stores that every worker shares.
func open(ctx context.Context, js jetstream.JetStream, o *Options) (err error) {
	if o.Observations, err = observations.Open(ctx, js); err != nil {
		return err
	}
	if o.Retries, err = retry.Open(ctx, js, o.Tokens); err != nil {
		return err
	}
	o.DeadLetters, err = deadletter.Open(ctx, js)
	return err
}

// newWorker returns the worker of one provider.
func newWorker(o Options, g *limitsBuilder, name string, cfg config.Lookup) (*Worker, error) {
	p, ok := providers.All.Get(name)
	if !ok {
		return nil, fmt.Errorf("no provider is called %s", name)
	}
	policy, err := policyOf(cfg.Retry(name))
	if err != nil {
		return nil, err
	}
	o.Limits = g.forProvider(p)
	o.Provider, o.Accounts, o.Policy = p, cfg.Accounts(name), policy.Scaled(cfg.TimeScale)
	return New(o), nil
}

// policyOf returns the configured retry policy. The default is Yapay's too: its offsets
// of 12 hours are how Yapay delivers webhooks, and too long for a look-up during a
// short outage.
func policyOf(r config.Retry) (provider.RetryPolicy, error) {
	name := r.Policy
	if name == "" {
		name = provider.DefaultRetryPolicy
	}
	policy, err := providers.All.RetryPolicy(name)
	if err != nil || len(r.Delays) == 0 {
		return policy, err
	}
	return policy.WithOffsets(r.Delays)
}
