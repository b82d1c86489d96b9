// Package sweep is the periodic maintenance role: it re-polls stale payments,
// re-publishes stuck schedules, enforces retention, and dead-letters messages that the
// broker gave up. Several copies of it may run.
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
	"arauto/workers/internal/hold"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
	"arauto/workers/sweep/advisories"
	"arauto/workers/sweep/levels"
	"arauto/workers/sweep/retention"
	"arauto/workers/sweep/stale"
	"arauto/workers/sweep/stuck"
)

const (
	// grace is how long advisories that are being handled may finish after a stop.
	grace = 5 * time.Second
	// stuckAfter is how overdue a schedule is before it is re-published. The broker fires
	// bursts within seconds.
	stuckAfter = 30 * time.Second
	// minAge is the age from which on an acknowledged notification must have an outcome.
	// A guess: its look-up may be redelivered several times until then.
	minAge = 10 * time.Minute
	// compactEvery is how often order logs are compacted. A guess: far less than
	// sweep.compact_after, which is days.
	compactEvery = time.Hour
)

// Run runs the role until ctx ends: one actor per task, so that a slow task does not
// delay the others.
func Run(ctx context.Context, k *process.Kit) error {
	cfg, err := k.Config.Sweep()
	if err != nil {
		return err
	}
	k.Registry.MustRegister(process.NewConsumerCollector(k.JS, []process.ConsumerName{
		{Stream: subject.Advisories, Consumer: subject.AdvisoriesConsumer},
	}))
	s := newSweeper(k, cfg)
	if err := await(ctx, k, s.bind); err != nil {
		return err
	}
	k.Ready("store", s.store.Stored)
	k.Ready("consumer", func(ctx context.Context) error {
		_, err := s.durable.Info(ctx)
		return err
	})
	actors := []process.Actor{{Name: subject.AdvisoriesConsumer, Run: s.runAdvisories}, {Name: "clock", Run: s.clock.Run}, k.Reload(nothing)}
	counts := newRoundMetrics(k.Registry)
	for _, t := range s.tasks() {
		round := t.do // What the broker's monitoring shows is added to its error.
		t.do = func(ctx context.Context) error {
			if t.reads { // Filling streams must be seen while the deployment is held, too.
				return s.store.Explain(round(ctx))
			}
			return s.store.Explain(s.gate.Round(ctx, round))
		}
		actors = append(actors, process.Actor{Name: t.name, Run: func(ctx context.Context) error { return t.run(ctx, k.Log, counts) }})
	}
	return process.Together(ctx, actors...)
}

// nothing takes over a new configuration: sweep uses no key that may change while it runs.
func nothing(*config.Config) error { return nil }

// await waits until every stream that the tasks use, and the role's consumer, is there, and
// calls bind. A provider that has no account may have no consumers.
func await(ctx context.Context, k *process.Kit, bind func(context.Context) error) error {
	streams := []string{
		subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders, subject.OrderPayments, subject.DeadLetters, subject.Advisories,
		subject.Expectations, subject.Outcomes,
	}
	return topology.Await(ctx, k.JS, k.Config.Topology(), k.Log, streams, []string{subject.AdvisoriesConsumer}, bind)
}

// sweeper is the tasks of the role and what they work with.
type sweeper struct {
	kit *process.Kit
	cfg config.Sweep

	clock   *retry.Clock
	stale   stale.Options
	stuck   stuck.Options
	givenUp advisories.Options
	levels  levels.Options
	retain  *retention.Metrics
	handled *consume.Metrics
	store   *durability.Health

	// Set by bind.
	payments                     *stale.Sweeper
	schedules                    *stuck.Republisher
	advisories                   *advisories.Worker
	gauge                        *levels.Gauge
	notifications, orders, index jetstream.Stream
	durable                      jetstream.Consumer
	gate                         *hold.Gate
}

// newSweeper makes everything that needs no broker.
func newSweeper(k *process.Kit, cfg config.Sweep) *sweeper {
	clock := retry.NewClock(k.JS, nil)
	return &sweeper{
		kit: k, cfg: cfg, clock: clock,
		stale: stale.Options{
			JS: k.JS, Tokens: cfg.Tokens, Log: k.Log, Metrics: stale.NewMetrics(k.Registry, providers.All.Names()...),
			Now: clock.Now, Jitter: rand.Float64, Horizon: cfg.Horizon,
		},
		stuck:   stuck.Options{JS: k.JS, Log: k.Log, Metrics: stuck.NewMetrics(k.Registry), Now: clock.Now, After: stuckAfter},
		givenUp: advisories.Options{JS: k.JS, Tokens: cfg.Tokens, Log: k.Log, Metrics: advisories.NewMetrics(k.Registry), Now: clock.Now},
		levels: levels.Options{
			JS: k.JS, Metrics: levels.NewMetrics(k.Registry),
			Room: topology.RetriesRoom(k.Config.Topology()),
		},
		retain: retention.NewMetrics(k.Registry, providers.All.Names()...), handled: consume.NewMetrics(k.Registry),
		store: durability.NewHealth(k.Config.NATS().Monitors),
	}
}

// bind opens the streams and the consumer. It may be called again after it failed.
func (s *sweeper) bind(ctx context.Context) (err error) {
	if err = s.clock.Set(ctx); err != nil {
		return err
	}
	if s.stale.Observations, err = observations.Open(ctx, s.kit.JS); err != nil {
		return err
	}
	if s.stale.Retries, err = retry.Open(ctx, s.kit.JS, s.stale.Tokens); err != nil {
		return err
	}
	if s.stale.DeadLetters, err = deadletter.Open(ctx, s.kit.JS); err != nil {
		return err
	}
	if s.payments, err = stale.New(ctx, s.stale); err != nil {
		return err
	}
	if s.schedules, err = stuck.New(ctx, s.stuck); err != nil {
		return err
	}
	s.givenUp.DeadLetters, s.levels.DeadLetters = s.stale.DeadLetters, s.stale.DeadLetters
	if s.gauge, err = levels.New(ctx, s.levels); err != nil {
		return err
	}
	s.advisories = advisories.New(s.givenUp)
	for name, stream := range map[string]*jetstream.Stream{subject.Notifications: &s.notifications, subject.Orders: &s.orders, subject.OrderPayments: &s.index} {
		if *stream, err = s.kit.JS.Stream(ctx, name); err != nil {
			return fmt.Errorf("open stream %s: %w", name, err)
		}
	}
	if s.durable, err = s.kit.JS.Consumer(ctx, subject.Advisories, subject.AdvisoriesConsumer); err != nil {
		return fmt.Errorf("bind consumer %s: %w", subject.AdvisoriesConsumer, err)
	}
	s.gate = hold.NewGate(s.durable)
	return nil
}

// tasks are the periodic tasks.
func (s *sweeper) tasks() []task {
	purge := &retention.Notifications{
		JS: s.kit.JS, Stream: s.notifications, Providers: providers.All.Names(), Metrics: s.retain, Log: s.kit.Log,
		Now: s.clock.Now, Keep: s.cfg.KeepNotifications, MinAge: minAge, Judge: s.payments.Unprocessed,
	}
	compact := &retention.Orders{Stream: s.orders, Index: s.index, Metrics: s.retain, Now: s.clock.Now, After: s.cfg.CompactAfter, Remove: s.cfg.RemoveAfter, Unreadable: s.payments.Unreadable}
	return []task{
		{name: "stale", every: s.cfg.Every, do: s.payments.Round},
		{name: "stuck", every: min(s.cfg.Every, stuckAfter), do: s.schedules.Round},
		{name: "notifications", every: s.cfg.Every, do: purge.Round},
		{name: "levels", every: s.cfg.Every, do: s.gauge.Round, reads: true},
		{name: "orders", every: compactEvery, do: compact.Round},
	}
}

// runAdvisories handles the messages of ADVISORIES.
func (s *sweeper) runAdvisories(ctx context.Context) error {
	return consume.Run(ctx, consume.Options{
		Consumer: s.durable, Name: subject.AdvisoriesConsumer, Concurrency: 4,
		AckWait: topology.AckWait, Grace: grace, Limit: s.gate.Limit, Log: s.kit.Log, Metrics: s.handled, Explain: s.store.Explain,
	}, s.advisories.Handle)
}
