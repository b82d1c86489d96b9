package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/lookup"
)

// limited returns another worker of the rig, as another process has it: with its own cache
// of circuits, its own rate limits, and two accounts.
func (r *rig) limited(l ratelimit.Limit) *lookup.Worker {
	r.T.Helper()
	o := r.worker.Options
	store, err := breaker.Open(r.Ctx, r.JS)
	r.Must(err)
	r.workers++
	o.Circuits, err = breaker.NewCache(r.Ctx, store, breaker.Options{
		Waits: breaker.Waits{First: 300 * time.Millisecond, Longest: 3 * time.Second, Expiry: 20 * time.Second},
		Name:  fmt.Sprint("worker ", r.workers), Now: time.Now,
	}, breaker.NewMetrics(prometheus.NewRegistry()), zap.NewNop())
	r.Must(err)
	o.Outage = breaker.NewOutage(o.Circuits, "sandbox", map[string]string{"default": "sandbox.test", "acme": "sandbox.test"}, breaker.OutageOptions{
		Waits:    breaker.Waits{First: 300 * time.Millisecond, Longest: time.Second, Expiry: 20 * time.Second},
		Failures: 5, Window: time.Minute,
	})
	o.Jitter = rand.Float64
	o.Rates, o.Accounts = map[string]*ratelimit.Limiter{}, map[string]provider.Account{}
	for _, name := range []string{"default", "acme"} {
		o.Accounts[name] = provider.Account{Name: name, Settings: r.worker.Accounts["default"].Settings}
		o.Rates[name] = ratelimit.New(l, time.Now)
	}
	return lookup.New(o)
}

// plenty is a rate limit above what the handlers can reach.
var plenty = ratelimit.Limit{Rate: 1000, Burst: 1000, Concurrency: 16}

// run runs a worker's consumers, as its process does, until stop or the end of the test.
func (r *rig) run(w *lookup.Worker) (stop func()) {
	r.T.Helper()
	ctx, cancel := context.WithCancel(r.Ctx)
	var all sync.WaitGroup
	all.Go(func() {
		if err := w.Circuits.Run(ctx); err != nil {
			r.T.Errorf("circuits: %v", err)
		}
	})
	for _, c := range []struct {
		stream, name string
		handle       consume.Handler
	}{
		{subject.Notifications, subject.LookupConsumer("sandbox"), w.HandleNotification},
		{subject.LookupRetries, subject.LookupDueConsumer("sandbox"), w.HandleDue},
	} {
		consumer, err := r.JS.Consumer(r.Ctx, c.stream, c.name)
		r.Must(err)
		all.Go(func() {
			if err := consume.Run(ctx, consume.Options{
				Consumer: consumer, Name: c.name, Concurrency: 8, AckWait: topology.AckWait, Grace: 5 * time.Second, Log: zap.NewNop(), Limit: w.Outage.Room, OverLimit: w.OverLimit,
			}, c.handle); err != nil {
				r.T.Errorf("%s: %v", c.name, err)
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	r.T.Cleanup(stop)
	return stop
}

// told stores a notification of an account.
func (r *rig) told(account, payment string) *testbench.Delivered {
	r.T.Helper()
	return r.Delivered(subject.Notifications, r.Notify(record.Notification{ID: account + payment, Account: account, Payment: payment}))
}

// count is how many subjects of a stream have messages.
func (r *rig) count(name, filter string) int {
	r.T.Helper()
	info, err := r.Stream(name).Info(r.Ctx, jetstream.WithSubjectFilter(filter))
	r.Must(err)
	return len(info.State.Subjects)
}

func TestRefusedCredentialOpensOneAccountUntilMended(t *testing.T) {
	t.Parallel()
	r := setup(t)
	const each, times = 100, 5 // Payments of each account, and how often each is notified: 1,000 in all.
	var refusing atomic.Bool
	var refused, asked atomic.Int32
	refusing.Store(true)
	r.script(func(payment string, _ int) (int, string) {
		if !strings.HasPrefix(payment, "acme") {
			return http.StatusOK, state(payment, "refunded", 10000, 10000)
		}
		asked.Add(1)
		if refusing.Load() {
			refused.Add(1)
			return http.StatusUnauthorized, ""
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	for i := range each * times {
		r.told("default", fmt.Sprintf("default-%d", i%each))
		r.told("acme", fmt.Sprintf("acme-%d", i%each))
	}
	r.run(r.limited(plenty))
	r.run(r.limited(plenty))
	r.Until("the good account is done", func() bool { return r.count(subject.Statuses, "statuses.sandbox.default.*") == each })
	r.Until("every payment of the bad one waits", func() bool {
		return r.count(subject.LookupRetries, "lookup.*.sandbox.acme.*") >= each
	})
	for _, p := range testbench.Documents[record.ScheduledLookUp](r.Bench, subject.LookupRetries, "lookup.parked.sandbox.acme.*") {
		if p.Attempts != 0 || p.FirstFailure != nil || p.Reason != "credential" {
			t.Fatalf("a refused credential parked %+v", p)
		}
	}
	// The look-ups of both workers in flight, and probes after 300 ms, 600 ms and so on up to every 3 s.
	if got := refused.Load(); got > 2*8+15 {
		t.Errorf("%d look-ups with a refused credential", got)
	}
	before := refused.Load()
	refusing.Store(false)
	r.Until("all are confirmed", func() bool { return r.count(subject.Statuses, "statuses.sandbox.acme.*") == each })
	if got := asked.Load() - before; got > each+20 {
		t.Errorf("%d look-ups for %d payments after the credential was mended", got, each)
	}
	if deadLetters := r.deadLetters(); len(deadLetters) != 0 {
		t.Errorf("%d dead letters, the first %+v", len(deadLetters), deadLetters[0])
	}
}

func TestOpenCircuitOutlivesTheWorker(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusForbidden)
	first := r.limited(plenty)
	first.Circuits.First = time.Minute // No probe is due before the end of the test.
	r.Must(first.HandleNotification(r.Ctx, r.told("acme", "p-1")))
	second := r.limited(plenty)
	m := r.told("acme", "p-2")
	r.Must(second.HandleNotification(r.Ctx, m))
	entry, err := r.retries.Read(r.Ctx, "sandbox", "acme", "p-2")
	r.Must(err)
	if p := entry.Parked; r.lookups("p-2") != 0 || p.Reason != "credential" || p.Covers != m.Sequence || p.Attempts != 0 || p.FirstFailure != nil {
		t.Errorf("after %d look-ups parked is %+v", r.lookups("p-2"), p)
	}
	r.says("refunded", 10000, 10000)
	r.Must(second.HandleNotification(r.Ctx, r.told("default", "p-3")))
	if r.lookups("p-3") != 1 {
		t.Error("another account waits too")
	}
}

func TestRateLimitedLookUpSpendsNothingAndKeepsItsTime(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w := r.limited(ratelimit.Limit{Rate: 1, Burst: 1, Concurrency: 4})
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "first")))
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "p")))
	before := r.parked("p").Parked
	if before.Reason != "rate_limit" || before.Attempts != 0 || before.FirstFailure != nil || r.lookups("p") != 0 {
		t.Fatalf("parked is %+v", before)
	}
	again := r.told("default", "p")
	r.Must(w.HandleNotification(r.Ctx, again))
	after := r.parked("p").Parked
	if after.Covers != again.Sequence || !after.DueAt.Equal(before.DueAt) {
		t.Errorf("a second notification moved the turn: %+v became %+v", before, after)
	}
}

func TestUnknownPaymentIsNotLookedUpAgainAtOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusNotFound)
	r.handle(r.notify("p"))
	before := r.parked("p").Parked
	var last *testbench.Delivered
	for range 20 {
		last = r.notify("p")
		r.handle(last)
	}
	after := r.parked("p").Parked
	if got := r.lookups("p"); got != 1 {
		t.Errorf("%d look-ups, want 1", got)
	}
	if after.Covers != last.Sequence || !after.DueAt.Equal(before.DueAt) || after.Attempts != before.Attempts {
		t.Errorf("parked was %+v and is %+v", before, after)
	}
	r.says("refunded", 10000, 10000)
	r.fire("p")
	if got := r.last("p").Covers(); got != last.Sequence {
		t.Errorf("the answer covers %d, want %d", got, last.Sequence)
	}
}

func TestOutageLeavesNotificationsInTheStream(t *testing.T) {
	t.Parallel()
	r := setup(t)
	var down atomic.Bool
	var failed atomic.Int32
	down.Store(true)
	r.script(func(payment string, _ int) (int, string) {
		if down.Load() {
			failed.Add(1)
			return http.StatusServiceUnavailable, ""
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	const all = 200
	for i := range all {
		r.told([]string{"default", "acme"}[i%2], fmt.Sprintf("p-%d", i))
	}
	r.run(r.limited(plenty))
	r.Until("a probe failed", func() bool { return failed.Load() >= 8+2 })
	down.Store(false)
	parked := int(failed.Load()) // Each of these waits for the policy's offset of a minute.
	r.Until("the others are confirmed", func() bool {
		return r.count(subject.Statuses, "statuses.sandbox.*.*") >= all-parked-8
	})
	if got := failed.Load(); got > 30 {
		t.Errorf("%d look-ups during the outage", got)
	}
	for _, p := range testbench.Documents[record.ScheduledLookUp](r.Bench, subject.LookupRetries, "lookup.parked.sandbox.*.*") {
		if p.Reason == "rate_limit" {
			continue // There were more at once than may be in flight.
		}
		if p.Attempts != 0 || p.FirstFailure == nil || p.DueAt.Sub(*p.FirstFailure) != offsets[0] {
			t.Errorf("the pause changed what is parked: %+v", p)
		}
	}
}

// One account's base_url may be wrong.
func TestUnreachableAccountStopsNoOther(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.script(func(payment string, _ int) (int, string) {
		if strings.HasPrefix(payment, "acme") {
			return http.StatusNotFound, "<html>"
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	w := r.limited(plenty)
	for i := range 20 {
		if i%10 == 0 { // So that twice as many fail in a row as would pause.
			r.Must(w.HandleNotification(r.Ctx, r.told("default", fmt.Sprintf("before-%d", i))))
		}
		payment := fmt.Sprintf("acme-%d", i)
		r.Must(w.HandleNotification(r.Ctx, r.told("acme", payment)))
		entry, err := r.retries.Read(r.Ctx, "sandbox", "acme", payment)
		r.Must(err)
		if p := entry.Parked; p.Reason != "unavailable" || p.FirstFailure == nil || p.DueAt.Sub(*p.FirstFailure) != offsets[0] {
			t.Fatalf("after %d failures parked is %+v", i+1, p)
		}
	}
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "p")))
	if r.lookups("p") != 1 {
		t.Error("the other account waits too")
	}
}

func TestMessageDuringAPauseIsNotHandled(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fails(http.StatusBadGateway)
	w := r.limited(plenty)
	w.Outage.First, w.Outage.Longest = time.Hour, time.Hour
	for i := range 4 {
		r.Must(w.HandleNotification(r.Ctx, r.told("default", fmt.Sprintf("p-%d", i))))
	}
	r.Must(w.HandleNotification(r.Ctx, r.told("acme", "p-4")))
	err := w.HandleNotification(r.Ctx, r.told("default", "late"))
	if !errors.Is(err, consume.ErrRetryLater) || r.lookups("late") != 0 || r.parked("late").Sequence != 0 {
		t.Errorf("during the pause: error %v, %d look-ups, parked %+v", err, r.lookups("late"), r.parked("late"))
	}
}

// A worker that has no share of the rate limits looks nothing up, and leaves the messages to
// the others.
func TestWorkerWithoutALeaseAsksNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	fleet, err := ratelimit.OpenFleet(r.Ctx, r.JS, []string{"sandbox"}, zap.NewNop())
	r.Must(err)
	w := r.limited(plenty)
	w.Rates["default"] = fleet.Limiter("sandbox", plenty)
	m := r.told("default", "p")
	if err := w.HandleNotification(r.Ctx, m); !errors.Is(err, consume.ErrRetryLater) || r.lookups("p") != 0 || r.parked("p").Sequence != 0 {
		t.Errorf("without a lease: error %v, %d look-ups, parked %+v", err, r.lookups("p"), r.parked("p"))
	}
	r.Go("leases", fleet.Run)
	r.Until("it holds a lease and looks up", func() bool { return w.HandleNotification(r.Ctx, m) == nil && r.lookups("p") == 1 })
}
