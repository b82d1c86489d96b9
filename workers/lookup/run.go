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
	"arauto/workers/internal/hold"
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
// retries. It works on each consumer from when that exists.
func Run(ctx context.Context, k *process.Kit) error {
	cfg, err := k.Config.Lookup()
	if err != nil {
		return err
	}
	numbers := process.NewConsumerCollector(k.JS, nil)
	k.Registry.MustRegister(numbers)
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
	from := map[string]jetstream.Stream{}
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
		for _, name := range []string{subject.Notifications, subject.LookupRetries} {
			if from[name], err = k.JS.Stream(ctx, name); err != nil {
				return fmt.Errorf("open stream %s: %w", name, err)
			}
		}
		return limits.bind(ctx)
	}
	streams := []string{subject.Notifications, subject.LookupRetries, subject.Statuses, subject.DeadLetters, subject.Circuits, subject.Leases}
	if err := topology.Await(ctx, k.JS, k.Config.Topology(), k.Log, streams, nil, bind); err != nil {
		return err
	}
	store := durability.NewHealth(k.Config.NATS().Monitors)
	actors := append(limits.actors(), process.Actor{Name: "clock", Run: clock.Run})
	counts := consume.NewMetrics(k.Registry)
	workers := make([]*Worker, len(cfg.Providers))
	var duties []*duty
	for i, name := range cfg.Providers {
		worker, err := newWorker(shared, limits, name, cfg)
		if err != nil {
			return err
		}
		workers[i] = worker
		on := func(stream, durable string, handle consume.Handler, more func(jetstream.Consumer) (process.Actor, func(int) int)) {
			d := &duty{kit: k, numbers: numbers, name: process.ConsumerName{Stream: stream, Consumer: durable}, provider: name}
			d.work = func(ctx context.Context, c jetstream.Consumer) error {
				actor, limit := more(c)
				return process.Together(ctx, actor, process.Actor{Name: "consumption", Run: func(ctx context.Context) error {
					return consume.Run(ctx, consume.Options{
						Consumer: c, Stream: from[stream], Name: durable, Concurrency: cfg.Concurrency,
						AckWait: topology.AckWait, Grace: grace, Log: k.Log, Metrics: counts, Explain: store.Explain,
						Limit: limit, OverLimit: worker.OverLimit,
					}, handle)
				}})
			}
			duties, actors = append(duties, d), append(actors, d.actor())
		}
		on(subject.Notifications, subject.LookupConsumer(name), worker.HandleNotification, func(c jetstream.Consumer) (process.Actor, func(int) int) {
			relief := &Relief{Worker: worker, Stream: from[subject.Notifications], Consumer: c}
			return process.Actor{Name: "relief", Run: relief.Run}, worker.room
		})
		on(subject.LookupRetries, subject.LookupDueConsumer(name), worker.HandleDue, func(c jetstream.Consumer) (process.Actor, func(int) int) {
			gate := hold.NewGate(c)
			resume := &Resume{Worker: worker, Circuits: limits.records, Within: gate.Round}
			return process.Actor{Name: "resume", Run: resume.Run}, func(want int) int { return gate.Limit(worker.room(want)) }
		})
	}
	k.Ready("store", store.Stored)
	k.Ready("consumers", func(ctx context.Context) error {
		for _, d := range duties {
			if err := d.ready(ctx); err != nil {
				return err
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
