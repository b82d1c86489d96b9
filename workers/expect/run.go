package expect

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/config"
	"arauto/deploy/runtime/durability"
	"arauto/deploy/runtime/process"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/expectations"
	"arauto/workers/internal/hold"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/orderindex"
	"arauto/workers/internal/retry"
)

// grace is how long judgements may finish after a stop. A guess: one takes milliseconds on
// a healthy broker.
const grace = 5 * time.Second

// concurrency is how many events are handled at a time. A guess: each takes some round
// trips to the broker.
const concurrency = 32

// usageInterval is how often the bytes of LOOKUP_RETRIES are read. A guess: some thousand
// look-ups are scheduled meanwhile.
const usageInterval = 2 * time.Second

// Run runs the role until ctx ends: a consumer of ORDERS, the walk over the open
// expectations, and, where a token is configured, the HTTP routes.
func Run(ctx context.Context, k *process.Kit) error {
	cfg, err := k.Config.Expect()
	if err != nil {
		return err
	}
	k.Registry.MustRegister(process.NewConsumerCollector(k.JS, []process.ConsumerName{
		{Stream: subject.Orders, Consumer: subject.ExpectConsumer},
	}))
	clock := retry.NewClock(k.JS, nil)
	names := providers.All.Names()
	options := Options{
		JS: k.JS, Tokens: cfg.Tokens, Log: k.Log, Metrics: NewMetrics(k.Registry, names...), Trace: k.Spans, Now: clock.Now,
		Check: func(provider, account, payment string) (order.Kind, error) {
			return expectations.Check(k.Current(), provider, account, payment)
		},
		SameShop: func(u, other subject.Unit) bool {
			return k.Current().SameShop(u.Provider, u.Account, other.Provider, other.Account)
		},
		Without: cfg.Without, Speedup: cfg.TimeScale,
	}
	var worker *Worker
	var durable jetstream.Consumer
	var orders jetstream.Stream
	bind := func(ctx context.Context) (err error) {
		if err = clock.Set(ctx); err != nil {
			return err
		}
		if options.Expectations, err = expectations.Open(ctx, k.JS, cfg.Tokens, cfg.Deployment); err != nil {
			return err
		}
		if options.Observations, err = observations.Open(ctx, k.JS); err != nil {
			return err
		}
		if options.Retries, err = retry.Open(ctx, k.JS, cfg.Tokens); err != nil {
			return err
		}
		options.Retries.SetLimit(topology.RetriesRoom(k.Config.Topology()), usageInterval)
		if orders, err = k.JS.Stream(ctx, subject.Orders); err != nil {
			return fmt.Errorf("open stream %s: %w", subject.Orders, err)
		}
		if options.Orders, err = orderindex.Open(ctx, k.JS, cfg.Tokens); err != nil {
			return err
		}
		if worker, err = New(ctx, options); err != nil {
			return err
		}
		if durable, err = k.JS.Consumer(ctx, subject.Orders, subject.ExpectConsumer); err != nil {
			return fmt.Errorf("bind consumer %s: %w", subject.ExpectConsumer, err)
		}
		return nil
	}
	streams := []string{
		subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders, subject.OrderPayments,
		subject.Expectations, subject.Outcomes,
	}
	if err := topology.Await(ctx, k.JS, k.Config.Topology(), k.Log, streams, []string{subject.ExpectConsumer}, bind); err != nil {
		return err
	}
	token := &atomic.Pointer[config.Secret]{}
	token.Store(&cfg.Bearer)
	serve(k, token, worker.Expectations)
	store := durability.NewHealth(k.Config.NATS().Monitors)
	k.Ready("store", store.Stored)
	k.Ready("consumer", func(ctx context.Context) error {
		_, err := durable.Info(ctx)
		return err
	})
	walk, counts, gate := NewWalk(worker, names...), consume.NewMetrics(k.Registry), hold.NewGate(durable)
	return process.Together(ctx,
		process.Actor{Name: "clock", Run: clock.Run},
		k.Reload(func(next *config.Config) error {
			cfg, err := next.Expect()
			if err == nil {
				token.Store(&cfg.Bearer)
			}
			return err
		}),
		process.Actor{Name: "walk", Run: func(ctx context.Context) error { return walk.RunWithin(ctx, gate.Round) }},
		process.Actor{Name: subject.ExpectConsumer, Run: func(ctx context.Context) error {
			return consume.Run(ctx, consume.Options{
				Consumer: durable, Stream: orders, Name: subject.ExpectConsumer, Concurrency: concurrency,
				AckWait: topology.AckWait, Grace: grace, Limit: gate.Limit, Log: k.Log, Metrics: counts, Explain: store.Explain,
			}, worker.Handle)
		}})
}

// serve adds the HTTP routes for services without NATS. Without a token there are none.
func serve(k *process.Kit, token *atomic.Pointer[config.Secret], store *expectations.Store) {
	routes := Routes{Token: func() string { return token.Load().Reveal() }, Store: store, Check: func(provider, account, payment string) error {
		_, err := expectations.Check(k.Current(), provider, account, payment)
		return err
	}, Log: k.Log}
	k.Handle("PUT /expectations/{provider}/{account}/{payment}", routes.Put())
	k.Handle("DELETE /expectations/{provider}/{account}/{payment}", routes.Delete())
}
