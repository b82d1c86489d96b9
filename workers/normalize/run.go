// Package normalize is the role that folds the observations on STATUSES into the order
// log, and so publishes one event per transition. More processes fold more payments at
// a time.
package normalize

import (
	"context"
	"fmt"
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
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/forgotten"
	"arauto/workers/internal/retry"
	"arauto/workers/normalize/fold"
)

// grace is how long a fold may finish after a stop. A guess: a fold takes milliseconds
// on a healthy broker.
const grace = 5 * time.Second

// Run runs the role until ctx ends: one worker behind one consumer.
func Run(ctx context.Context, k *process.Kit) error {
	cfg, err := k.Config.Normalize()
	if err != nil {
		return err
	}
	k.Registry.MustRegister(process.NewConsumerCollector(k.JS, []process.ConsumerName{
		{Stream: subject.Statuses, Consumer: subject.NormalizeConsumer},
	}))
	events, err := k.Committer(subject.Orders)
	if err != nil {
		return err
	}
	index, err := k.Committer(subject.OrderPayments)
	if err != nil {
		return err
	}
	streams := []string{subject.Statuses, subject.Orders, subject.OrderPayments, subject.LookupRetries, subject.DeadLetters, subject.Forgotten}
	options := fold.Options{
		JS: k.JS, Events: events, Index: index, Tokens: cfg.Tokens, Log: k.Log, Trace: k.Spans, Metrics: fold.NewMetrics(k.Registry, providers.All.Names()...), Now: time.Now,
		Spans: order.Standard.Scaled(cfg.TimeScale), RemoveAfter: cfg.RemoveAfter, Clock: retry.NewClock(k.JS, nil), Deployment: cfg.Deployment,
	}
	var worker *fold.Worker
	var durable jetstream.Consumer
	var statuses jetstream.Stream
	bind := func(ctx context.Context) (err error) {
		if options.Retries, err = retry.Open(ctx, k.JS, cfg.Tokens); err != nil {
			return err
		}
		if err = options.Clock.Set(ctx); err != nil {
			return err
		}
		if options.DeadLetters, err = deadletter.Open(ctx, k.JS); err != nil {
			return err
		}
		if options.Forgotten, err = forgotten.Open(ctx, k.JS, cfg.Tokens); err != nil {
			return err
		}
		if worker, err = fold.New(ctx, options); err != nil {
			return err
		}
		if statuses, err = k.JS.Stream(ctx, subject.Statuses); err != nil {
			return fmt.Errorf("open stream %s: %w", subject.Statuses, err)
		}
		if durable, err = k.JS.Consumer(ctx, subject.Statuses, subject.NormalizeConsumer); err != nil {
			return fmt.Errorf("bind consumer %s: %w", subject.NormalizeConsumer, err)
		}
		return nil
	}
	if err := topology.Await(ctx, k.JS, k.Config.Topology(), k.Log, streams, []string{subject.NormalizeConsumer}, bind); err != nil {
		return err
	}
	store := durability.NewHealth(k.Config.NATS().Monitors)
	k.Ready("store", store.Stored)
	k.Ready("consumer", func(ctx context.Context) error {
		_, err := durable.Info(ctx)
		return err
	})
	counts := consume.NewMetrics(k.Registry)
	return process.Together(ctx, process.Actor{Name: "clock", Run: options.Clock.Run}, k.Reload(nothing),
		process.Actor{Name: subject.NormalizeConsumer, Run: func(ctx context.Context) error {
			return consume.Run(ctx, consume.Options{
				Consumer: durable, Stream: statuses, Name: subject.NormalizeConsumer, Concurrency: cfg.Concurrency,
				AckWait: topology.AckWait, Grace: grace, Log: k.Log, Metrics: counts, Explain: store.Explain,
			}, worker.Handle)
		}})
}

// nothing takes over a new configuration: normalize uses no key that may change while it runs.
func nothing(*config.Config) error { return nil }
