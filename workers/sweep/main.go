// Command sweep is the one who looks twice: it makes silent payments due for a
// look-up, frees stuck schedules, removes what has been of use, and gives a
// dead letter to what was given up without one. It may run in several copies.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/process"
	"arauto/deploy/process/config"
	"arauto/deploy/topology"
	"arauto/schemas/providers"
	"arauto/schemas/subject"
	"arauto/workers/chain"
	"arauto/workers/consume"
	"arauto/workers/deadletter"
	"arauto/workers/park"
	"arauto/workers/sweep/advice"
	"arauto/workers/sweep/overdue"
	"arauto/workers/sweep/rounds"
	"arauto/workers/sweep/silence"
	"arauto/workers/sweep/tidy"
)

const (
	// grace is how long advisories in work may finish after a stop.
	grace = 5 * time.Second
	// stuck is how overdue a schedule is before it is published again. The
	// broker fires bursts within seconds.
	stuck = 30 * time.Second
	// settle is how old an acknowledged notification is before its trace is
	// looked for.
	settle = 10 * time.Minute
	// compactEvery is much shorter than the ages that it is about.
	compactEvery = time.Hour
)

func main() { process.Main(config.RoleSweep, run) }

// run wires the role: one actor per task, so that a slow one does not keep the
// others waiting.
func run(ctx context.Context, k *process.Kit) error {
	cfg, err := k.Config.Sweep()
	if err != nil {
		return err
	}
	tokens, err := subject.Keyed(cfg.HashKey.Reveal())
	if err != nil {
		return fmt.Errorf("read hash_key: %w", err)
	}
	js, err := jetstream.New(k.NATS)
	if err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	k.Registry.MustRegister(process.NewConsumerCollector(js, []process.ConsumerName{
		{Stream: subject.Advisories, Consumer: subject.AdvisoriesConsumer},
	}))
	if err := await(ctx, js, k); err != nil {
		return err
	}
	tasks, err := tasks(ctx, js, tokens, k, cfg)
	if err != nil {
		return err
	}
	advisories, err := advisories(ctx, js, tokens, k)
	if err != nil {
		return err
	}
	actors := []process.Actor{{Name: subject.AdvisoriesConsumer, Run: advisories}}
	counts := rounds.NewMetrics(k.Registry)
	for _, task := range tasks {
		actors = append(actors, process.Actor{Name: task.Name, Run: func(ctx context.Context) error {
			return rounds.Run(ctx, task, k.Log, counts)
		}})
	}
	return process.Together(ctx, actors...)
}

// await waits for everything that the tasks read and write.
func await(ctx context.Context, js jetstream.JetStream, k *process.Kit) error {
	sizes := k.Config.Topology()
	settings := topology.Settings{Replicas: sizes.Replicas, Store: int64(sizes.Store), Providers: providers.All.Names()}
	streams := []string{
		subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders, subject.DeadLetters, subject.Advisories,
	}
	consumers := []string{subject.AdvisoriesConsumer}
	for _, name := range providers.All.Names() {
		consumers = append(consumers, subject.LookupConsumer(name), subject.LookupDueConsumer(name))
	}
	return topology.Await(ctx, js, settings, k.Log, streams, consumers)
}

// tasks are what is done in rounds.
func tasks(ctx context.Context, js jetstream.JetStream, tokens subject.Tokens, k *process.Kit, cfg config.Sweep) ([]rounds.Task, error) {
	chains, err := chain.Open(ctx, js)
	if err != nil {
		return nil, err
	}
	lot, err := park.Open(ctx, js, tokens)
	if err != nil {
		return nil, err
	}
	silent, err := silence.New(ctx, silence.Options{
		JS: js, Tokens: tokens, Lot: lot, Chains: chains, Log: k.Log, Metrics: silence.NewMetrics(k.Registry),
		Now: time.Now, Jitter: rand.Float64, Horizon: cfg.Horizon,
	})
	if err != nil {
		return nil, err
	}
	watch, err := overdue.New(ctx, overdue.Options{
		JS: js, Log: k.Log, Metrics: overdue.NewMetrics(k.Registry), Now: time.Now, After: stuck,
	})
	if err != nil {
		return nil, err
	}
	notifications, err := js.Stream(ctx, subject.Notifications)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Notifications, err)
	}
	orders, err := js.Stream(ctx, subject.Orders)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.Orders, err)
	}
	removed := tidy.NewMetrics(k.Registry)
	finished := &tidy.Notifications{
		JS: js, Stream: notifications, Providers: providers.All.Names(), Metrics: removed,
		Now: time.Now, Keep: cfg.KeepNotifications, Settle: settle, Judge: silent.Orphans,
	}
	long := &tidy.Orders{Stream: orders, Log: k.Log, Metrics: removed, Now: time.Now, After: cfg.CompactAfter}
	return []rounds.Task{
		{Name: "silent", Every: cfg.Every, Do: silent.Round},
		{Name: "overdue", Every: min(cfg.Every, stuck), Do: watch.Round},
		{Name: "notifications", Every: cfg.Every, Do: finished.Round},
		{Name: "orders", Every: compactEvery, Do: long.Round},
	}, nil
}

// advisories is the actor that works on what the broker gave up.
func advisories(ctx context.Context, js jetstream.JetStream, tokens subject.Tokens, k *process.Kit) (func(context.Context) error, error) {
	dead, err := deadletter.Open(ctx, js)
	if err != nil {
		return nil, err
	}
	worker, err := advice.New(ctx, advice.Options{
		JS: js, Tokens: tokens, Dead: dead, Log: k.Log, Metrics: advice.NewMetrics(k.Registry), Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	durable, err := js.Consumer(ctx, subject.Advisories, subject.AdvisoriesConsumer)
	if err != nil {
		return nil, fmt.Errorf("bind consumer %s: %w", subject.AdvisoriesConsumer, err)
	}
	k.Ready("consumer", func(ctx context.Context) error {
		_, err := durable.Info(ctx)
		return err
	})
	counts := consume.NewMetrics(k.Registry)
	return func(ctx context.Context) error {
		return consume.Run(ctx, consume.Options{
			Consumer: durable, Name: subject.AdvisoriesConsumer, Concurrency: 4,
			AckWait: topology.AckWait, Grace: grace, Log: k.Log, Metrics: counts,
		}, worker.Handle)
	}, nil
}
