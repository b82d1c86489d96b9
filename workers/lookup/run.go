package lookup

import (
	"cmp"
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
	var names []process.ConsumerName
	var consumers []string
	for _, name := range cfg.Providers {
		fresh, due := subject.LookupConsumer(name), subject.LookupDueConsumer(name)
		names = append(names, process.ConsumerName{Stream: subject.Notifications, Consumer: fresh},
			process.ConsumerName{Stream: subject.LookupRetries, Consumer: due})
		consumers = append(consumers, fresh, due)
	}
	k.Registry.MustRegister(process.NewConsumerCollector(k.JS, names))
	clock := retry.NewClock(k.JS, nil)
	shared := Options{
		Tokens: cfg.Tokens, Log: k.Log, Trace: k.Spans, Metrics: NewMetrics(k.Registry), Now: clock.Now, Jitter: rand.Float64,
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
	bound, from := map[process.ConsumerName]jetstream.Consumer{}, map[string]jetstream.Stream{}
	bind := func(ctx context.Context) (err error) {
		if err = clock.Set(ctx); err != nil {
			return err
		}
		if shared.Observations, err = observations.Open(ctx, k.JS); err != nil {
			return err
		}
		if shared.Retries, err = retry.Open(ctx, k.JS, cfg.Tokens); err != nil {
			return err
		}
		if shared.DeadLetters, err = deadletter.Open(ctx, k.JS); err != nil {
			return err
		}
		shared.Observations.Writes, shared.Retries.Writes = statuses, retries
		shared.Retries.SetLimit(topology.RetriesRoom(k.Config.Topology()), usageInterval)
		for _, name := range names {
			if bound[name], err = k.JS.Consumer(ctx, name.Stream, name.Consumer); err != nil {
				return fmt.Errorf("bind consumer %s: %w", name.Consumer, err)
			}
			if from[name.Stream], err = k.JS.Stream(ctx, name.Stream); err != nil {
				return fmt.Errorf("open stream %s: %w", name.Stream, err)
			}
		}
		return limits.bind(ctx)
	}
	streams := []string{subject.Notifications, subject.LookupRetries, subject.Statuses, subject.DeadLetters, subject.Circuits, subject.Leases}
	if err := topology.Await(ctx, k.JS, k.Config.Topology(), k.Log, streams, consumers, bind); err != nil {
		return err
	}
	store := durability.NewHealth(k.Config.NATS().Monitors)
	actors := append(limits.actors(), process.Actor{Name: "clock", Run: clock.Run})
	counts := consume.NewMetrics(k.Registry)
	workers := make([]*Worker, len(cfg.Providers))
	for i, name := range cfg.Providers {
		worker, err := newWorker(shared, limits, name, cfg)
		if err != nil {
			return err
		}
		workers[i] = worker
		relief := &Relief{
			Worker: worker, Stream: from[subject.Notifications],
			Consumer: bound[process.ConsumerName{Stream: subject.Notifications, Consumer: subject.LookupConsumer(name)}],
		}
		resume := &Resume{Worker: worker, Circuits: limits.records}
		actors = append(actors, process.Actor{Name: "relief-" + name, Run: relief.Run}, process.Actor{Name: "resume-" + name, Run: resume.Run})
		for j, handle := range []consume.Handler{worker.HandleNotification, worker.HandleDue} {
			durable := names[2*i+j]
			actors = append(actors, process.Actor{Name: durable.Consumer, Run: func(ctx context.Context) error {
				return consume.Run(ctx, consume.Options{
					Consumer: bound[durable], Stream: from[durable.Stream], Name: durable.Consumer, Concurrency: cfg.Concurrency,
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
	actors = append(actors, k.Reload(func(next *config.Config) error { return limits.replace(next, workers) }))
	return process.Together(ctx, actors...)
}

// newWorker returns the worker of one provider.
func newWorker(o Options, g *limitsBuilder, name string, cfg config.Lookup) (*Worker, error) {
	p, ok := providers.All.Get(name)
	if !ok {
		return nil, fmt.Errorf("no provider is called %s", name)
	}
	policy, err := policyOf(name, cfg)
	if err != nil {
		return nil, err
	}
	o.Limits = g.forProvider(p)
	o.Provider, o.Accounts, o.Policy = p, cfg.Accounts(name), policy
	return New(o), nil
}

// policyOf returns the retry policy of one provider. The default one is Yapay's too: its
// offsets of 12 hours are how Yapay delivers webhooks, and too long for a look-up during a
// short outage.
func policyOf(name string, cfg config.Lookup) (provider.RetryPolicy, error) {
	configured := cfg.Retry(name)
	policy, err := providers.All.RetryPolicy(cmp.Or(configured.Policy, provider.DefaultRetryPolicy))
	if err == nil && len(configured.Delays) > 0 {
		policy, err = policy.WithOffsets(configured.Delays)
	}
	return policy.Scaled(cfg.TimeScale), err
}
