// Package sweep is the one who looks twice: it makes silent payments due for a
// look-up, frees stuck schedules, removes what has been of use, and gives a
// dead letter to what was given up without one. It may run in several copies.
package sweep

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
	"arauto/schemas/providers"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
	"arauto/workers/sweep/advisories"
	"arauto/workers/sweep/levels"
	"arauto/workers/sweep/periodic"
	"arauto/workers/sweep/retention"
	"arauto/workers/sweep/stale"
	"arauto/workers/sweep/stuck"
)

const (
	// grace is how long advisories in work may finish after a stop.
	grace = 5 * time.Second
	// stuckAfter is how overdue a schedule is before it is published again. The
	// broker fires bursts within seconds.
	stuckAfter = 30 * time.Second
	// settle is how old an acknowledged notification is before its trace is
	// looked for.
	settle = 10 * time.Minute
	// compactEvery is much shorter than the ages that it is about.
	compactEvery = time.Hour
)

// Run wires the role: one actor per task, so that a slow one does not keep the
// others waiting.
func Run(ctx context.Context, k *process.Kit) error {
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
	s := newSweeper(js, tokens, k, cfg)
	if err := await(ctx, js, k, s.bind); err != nil {
		return err
	}
	k.Ready("store", s.store.Stored)
	k.Ready("consumer", func(ctx context.Context) error {
		_, err := s.durable.Info(ctx)
		return err
	})
	actors := []process.Actor{{Name: subject.AdvisoriesConsumer, Run: s.advisories}, {Name: "clock", Run: s.clock.Run}}
	counts := periodic.NewMetrics(k.Registry)
	for _, task := range s.tasks() {
		actors = append(actors, process.Actor{Name: task.Name, Run: func(ctx context.Context) error {
			return periodic.Run(ctx, task, k.Log, counts)
		}})
	}
	return process.Together(ctx, actors...)
}

// await waits for everything that the tasks read and write, and binds to it.
func await(ctx context.Context, js jetstream.JetStream, k *process.Kit, bind func(context.Context) error) error {
	sizes := k.Config.Topology()
	settings := topology.Settings{Replicas: sizes.Replicas, Store: int64(sizes.Store), Providers: providers.All.Names()}
	streams := []string{
		subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders, subject.DeadLetters, subject.Advisories,
	}
	consumers := []string{subject.AdvisoriesConsumer}
	for _, name := range providers.All.Names() {
		consumers = append(consumers, subject.LookupConsumer(name), subject.LookupDueConsumer(name))
	}
	return topology.Await(ctx, js, settings, k.Log, streams, consumers, bind)
}

// sweeper is the role's tasks, and what each of them works with.
type sweeper struct {
	js  jetstream.JetStream
	kit *process.Kit
	cfg config.Sweep

	clock   *retry.Clock
	silence stale.Options
	overdue stuck.Options
	advice  advisories.Options
	levels  levels.Options
	removed *retention.Metrics
	handled *consume.Metrics
	store   *durability.Health

	// Set by bind.
	silent                *stale.Sweeper
	watch                 *stuck.Republisher
	adviser               *advisories.Worker
	gauge                 *levels.Gauge
	notifications, orders jetstream.Stream
	durable               jetstream.Consumer
}

// newSweeper makes everything that does not need the broker.
func newSweeper(js jetstream.JetStream, tokens subject.Tokens, k *process.Kit, cfg config.Sweep) *sweeper {
	clock := retry.NewClock(js, nil)
	return &sweeper{
		js: js, kit: k, cfg: cfg, clock: clock,
		silence: stale.Options{
			JS: js, Tokens: tokens, Log: k.Log, Metrics: stale.NewMetrics(k.Registry, providers.All.Names()...),
			Now: clock.Now, Jitter: rand.Float64, Horizon: cfg.Horizon,
		},
		overdue: stuck.Options{JS: js, Log: k.Log, Metrics: stuck.NewMetrics(k.Registry), Now: clock.Now, After: stuckAfter},
		advice:  advisories.Options{JS: js, Tokens: tokens, Log: k.Log, Metrics: advisories.NewMetrics(k.Registry), Now: clock.Now},
		levels: levels.Options{
			JS: js, Metrics: levels.NewMetrics(k.Registry),
			Room: topology.RetriesRoom(topology.Settings{Store: int64(k.Config.Topology().Store)}),
		},
		removed: retention.NewMetrics(k.Registry, providers.All.Names()...), handled: consume.NewMetrics(k.Registry),
		store: durability.NewHealth(k.Config.NATS().Monitors),
	}
}

// bind finds the streams and the consumer. It may be called again after it
// failed.
func (s *sweeper) bind(ctx context.Context) (err error) {
	if err = s.clock.Set(ctx); err != nil {
		return err
	}
	if s.silence.Observations, err = observations.Open(ctx, s.js); err != nil {
		return err
	}
	if s.silence.Retries, err = retry.Open(ctx, s.js, s.silence.Tokens); err != nil {
		return err
	}
	if s.silence.DeadLetters, err = deadletter.Open(ctx, s.js); err != nil {
		return err
	}
	if s.silent, err = stale.New(ctx, s.silence); err != nil {
		return err
	}
	if s.watch, err = stuck.New(ctx, s.overdue); err != nil {
		return err
	}
	s.advice.DeadLetters, s.levels.DeadLetters = s.silence.DeadLetters, s.silence.DeadLetters
	if s.gauge, err = levels.New(ctx, s.levels); err != nil {
		return err
	}
	s.adviser = advisories.New(s.advice)
	for name, stream := range map[string]*jetstream.Stream{subject.Notifications: &s.notifications, subject.Orders: &s.orders} {
		if *stream, err = s.js.Stream(ctx, name); err != nil {
			return fmt.Errorf("open stream %s: %w", name, err)
		}
	}
	if s.durable, err = s.js.Consumer(ctx, subject.Advisories, subject.AdvisoriesConsumer); err != nil {
		return fmt.Errorf("bind consumer %s: %w", subject.AdvisoriesConsumer, err)
	}
	return nil
}

// tasks are what is done in rounds.
func (s *sweeper) tasks() []periodic.Task {
	finished := &retention.Notifications{
		JS: s.js, Stream: s.notifications, Providers: providers.All.Names(), Metrics: s.removed,
		Now: s.clock.Now, Keep: s.cfg.KeepNotifications, MinAge: settle, Judge: s.silent.Unprocessed,
	}
	long := &retention.Orders{Stream: s.orders, Metrics: s.removed, Now: s.clock.Now, After: s.cfg.CompactAfter, Unreadable: s.silent.Unreadable}
	return []periodic.Task{
		{Name: "silent", Every: s.cfg.Every, Do: s.explained(s.silent.Round)},
		{Name: "overdue", Every: min(s.cfg.Every, stuckAfter), Do: s.explained(s.watch.Round)},
		{Name: "notifications", Every: s.cfg.Every, Do: s.explained(finished.Round)},
		{Name: "levels", Every: s.cfg.Every, Do: s.explained(s.gauge.Round)},
		{Name: "orders", Every: compactEvery, Do: s.explained(long.Round)},
	}
}

// explained is a round whose error says what is known of the broker.
func (s *sweeper) explained(round func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error { return s.store.Explain(round(ctx)) }
}

// advisories works on what the broker gave up.
func (s *sweeper) advisories(ctx context.Context) error {
	return consume.Run(ctx, consume.Options{
		Consumer: s.durable, Name: subject.AdvisoriesConsumer, Concurrency: 4,
		AckWait: topology.AckWait, Grace: grace, Log: s.kit.Log, Metrics: s.handled, Explain: s.store.Explain,
	}, s.adviser.Handle)
}
