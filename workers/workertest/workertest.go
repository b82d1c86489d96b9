// Package workertest runs the real workers inside a test, on a broker that the test has
// started: with shorter waits, with a clock of the test's, or with a consumer of the
// test's. Suites outside workers/ use it, because workers/internal is closed to them.
package workertest

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/providers"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/expect"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/expectations"
	"arauto/workers/internal/forgotten"
	"arauto/workers/internal/hold"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/orderindex"
	"arauto/workers/internal/providerhttp"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
	"arauto/workers/lookup"
	"arauto/workers/normalize/fold"
	"arauto/workers/sweep/advisories"
	"arauto/workers/sweep/stale"
)

// Bench is a testbench.Bench that is connected as the user of one role.
type Bench struct{ testbench.Bench }

func (b Bench) retries() *retry.Store {
	b.T.Helper()
	s, err := retry.Open(b.Ctx, b.JS, b.Tokens)
	b.Must(err)
	return s
}

func (b Bench) deadLetters() *deadletter.Store {
	b.T.Helper()
	s, err := deadletter.Open(b.Ctx, b.JS)
	b.Must(err)
	return s
}

func (b Bench) observations() *observations.Store {
	b.T.Helper()
	s, err := observations.Open(b.Ctx, b.JS)
	b.Must(err)
	return s
}

// Lookup returns the sandbox's look-up worker for one account. With offsets, its retry
// policy has those, and else the default ones. With zero limits it looks up as fast as
// it can.
func (b Bench) Lookup(account provider.Account, limits lookup.Limits, offsets ...time.Duration) *lookup.Worker {
	b.T.Helper()
	policy, err := providers.All.RetryPolicy(provider.DefaultRetryPolicy)
	b.Must(err)
	if len(offsets) > 0 {
		policy, err = policy.WithOffsets(offsets)
		b.Must(err)
	}
	sandbox, ok := providers.All.Get("sandbox")
	if !ok {
		b.T.Fatal("there is no provider sandbox")
	}
	client := providerhttp.New(providerhttp.Options{Timeout: 10 * time.Second, AnswerLimit: 1 << 20, Connections: 64, Now: time.Now})
	b.T.Cleanup(client.Close)
	return lookup.New(lookup.Options{
		Provider: sandbox, Accounts: map[string]provider.Account{account.Name: account},
		Policy: policy, Tokens: b.Tokens, Ask: client, Observations: b.observations(), Retries: b.retries(), DeadLetters: b.deadLetters(),
		Log: zap.NewNop(), Metrics: lookup.NewMetrics(prometheus.NewRegistry()),
		Now: time.Now, Jitter: func() float64 { return 0 }, Limits: limits,
	})
}

// Breakers returns circuit breakers that open at the first failure, for as long as wait,
// and a rate limit by a lease. They run until the test ends.
func (b Bench) Breakers(wait time.Duration) lookup.Limits {
	b.T.Helper()
	store, err := breaker.Open(b.Ctx, b.JS)
	b.Must(err)
	waits := breaker.Waits{First: wait, Longest: wait, Expiry: 10 * time.Second}
	cache, err := breaker.NewCache(b.Ctx, store, breaker.Options{Waits: waits, Name: "test", Now: time.Now},
		breaker.NewMetrics(prometheus.NewRegistry()), zap.NewNop())
	b.Must(err)
	b.Go("circuits", cache.Run)
	fleet, err := ratelimit.OpenFleet(b.Ctx, b.JS, []string{"sandbox"}, zap.NewNop())
	b.Must(err)
	plenty := fleet.Limiter("sandbox", ratelimit.Limit{Rate: 1000, Burst: 1000, Concurrency: 64})
	b.Go("leases", fleet.Run)
	return lookup.Limits{Circuits: cache, Rates: map[string]*ratelimit.Limiter{"default": plenty}, Outage: breaker.NewOutage(cache, "sandbox", map[string]string{"default": "sandbox.test"},
		breaker.OutageOptions{Waits: waits, Failures: 1, Window: time.Minute})}
}

// Resume brings forward what waits for a look-up worker's circuit breakers once these have
// closed, until the test ends.
func (b Bench) Resume(w *lookup.Worker) {
	b.T.Helper()
	circuits, err := breaker.Open(b.Ctx, b.JS)
	b.Must(err)
	b.Go("resume", (&lookup.Resume{Worker: w, Circuits: circuits}).Run)
}

// Fold returns a worker that folds observations. It shares no memory with other
// workers.
func (b Bench) Fold() *fold.Worker {
	b.T.Helper()
	erased, err := forgotten.Open(b.Ctx, b.JS, b.Tokens)
	b.Must(err)
	w, err := fold.New(b.Ctx, fold.Options{
		JS: b.JS, Tokens: b.Tokens, Retries: b.retries(), DeadLetters: b.deadLetters(), Forgotten: erased,
		Log: zap.NewNop(), Metrics: fold.NewMetrics(prometheus.NewRegistry()), Now: time.Now,
	})
	b.Must(err)
	return w
}

// Expect returns a worker that judges expected payments of the sandbox, and its walk. Its
// cadence is speedup times as fast, and its HTTP routes take the token.
func (b Bench) Expect(speedup int, token string) (*expect.Worker, *expect.Walk, expect.Routes) {
	b.T.Helper()
	store, err := expectations.Open(b.Ctx, b.JS, b.Tokens, "")
	b.Must(err)
	index, err := orderindex.Open(b.Ctx, b.JS, b.Tokens)
	b.Must(err)
	w, err := expect.New(b.Ctx, expect.Options{
		JS: b.JS, Tokens: b.Tokens, Expectations: store, Observations: b.observations(), Retries: b.retries(),
		Orders:   index,
		Check:    func(string, string, string) (order.Kind, error) { return order.Payment, nil },
		SameShop: func(u, other subject.Unit) bool { return u.Account == other.Account },
		Log:      zap.NewNop(), Metrics: expect.NewMetrics(prometheus.NewRegistry(), "sandbox"), Now: time.Now,
		Without: time.Hour, Speedup: speedup,
	})
	b.Must(err)
	routes := expect.Routes{Token: func() string { return token }, Store: store, Check: func(string, string, string) error { return nil }, Log: zap.NewNop()}
	return w, expect.NewWalk(w, "sandbox"), routes
}

// Stale returns a sweeper of stale payments whose clock is now, and which polls a
// payment until its age is horizon.
func (b Bench) Stale(now func() time.Time, horizon time.Duration) *stale.Sweeper {
	b.T.Helper()
	s, err := stale.New(b.Ctx, stale.Options{
		JS: b.JS, Tokens: b.Tokens, Retries: b.retries(), Observations: b.observations(), DeadLetters: b.deadLetters(), Log: zap.NewNop(),
		Metrics: stale.NewMetrics(prometheus.NewRegistry()), Now: now, Jitter: func() float64 { return 0 }, Horizon: horizon,
	})
	b.Must(err)
	return s
}

// Advisories returns a worker for the broker's advisories about messages that it gave
// up.
func (b Bench) Advisories() *advisories.Worker {
	b.T.Helper()
	return advisories.New(advisories.Options{
		JS: b.JS, Tokens: b.Tokens, DeadLetters: b.deadLetters(), Log: zap.NewNop(),
		Metrics: advisories.NewMetrics(prometheus.NewRegistry()), Now: time.Now,
	})
}

// Consume runs handle on a durable consumer, with up to concurrency messages at once,
// until the test ends.
func (b Bench) Consume(stream, durable string, concurrency int, handle consume.Handler) {
	b.T.Helper()
	c, err := b.JS.Consumer(b.Ctx, stream, durable)
	b.Must(err)
	from, err := b.JS.Stream(b.Ctx, stream)
	b.Must(err)
	b.Go(durable, func(ctx context.Context) error {
		return consume.Run(ctx, consume.Options{
			Limit:    hold.NewGate(c).Limit, // As the roles that work unasked do, for arauto hold.
			Consumer: c, Stream: from, Name: durable, Concurrency: concurrency, AckWait: topology.AckWait,
			Grace: 5 * time.Second, Log: zap.NewNop(), Metrics: consume.NewMetrics(prometheus.NewRegistry()),
		}, handle)
	})
}

// AckFloor returns the stream sequence up to which a durable consumer's messages are
// all acknowledged.
func (b Bench) AckFloor(stream, durable string) uint64 {
	b.T.Helper()
	floor, err := consume.AckFloor(b.Ctx, b.JS, stream, durable)
	b.Must(err)
	return floor
}

// Schedule stores the first scheduled look-up of a payment.
func (b Bench) Schedule(p record.ScheduledLookUp) {
	b.T.Helper()
	b.Must(b.retries().Schedule(b.Ctx, retry.Fresh, p))
}

// EndRefusal makes the refusal of a payment that was erased end now: it replaces the mark of
// the erasure, and waits until that is over.
func (b Bench) EndRefusal(payment string) {
	b.T.Helper()
	store := b.observations()
	last, err := store.Last(b.Ctx, b.Unit(payment))
	b.Must(err)
	if last.Observation.RefusedUntil == nil {
		b.T.Fatalf("%s is not refused", payment)
	}
	over := time.Now().Add(time.Second).UTC()
	_, err = store.Append(b.Ctx, b.Unit(payment), last, order.Observation{Provider: "sandbox", Account: "default", RefusedUntil: &over}, "")
	b.Must(err)
	b.Must(b.Stream(subject.Statuses).SecureDeleteMsg(b.Ctx, last.Sequence))
	b.Until("the refusal to be over", func() bool { return time.Now().After(over) })
}

// DeadLetter stores a dead letter about a message of NOTIFICATIONS.
func (b Bench) DeadLetter(sequence uint64, l record.DeadLetter) {
	b.T.Helper()
	l.ID = deadletter.ID(subject.Notifications, sequence)
	l.Stream, l.Sequence = subject.Notifications, sequence
	b.Must(b.deadLetters().Put(b.Ctx, b.Tokens.Unit(l.Provider, l.Account, l.Payment), l, l.ID, deadletter.SameID(l.ID)))
}
