package outage_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
	"arauto/workers/internal/outage"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// rig is a broker, a clock that the test sets, and a breaker that opens after three
// failures within ten seconds.
type rig struct {
	*testbench.Broker
	*outage.Breaker
	clock    *testbench.Clock
	registry *prometheus.Registry
}

func setup(t *testing.T) *rig { t.Helper(); return setupFor(t, "default") }

// setupFor is setup for a provider with these accounts.
func setupFor(t *testing.T, accounts ...string) *rig {
	t.Helper()
	r := &rig{
		Broker: testbench.Start(t, "sandbox", "picpay"),
		clock:  testbench.NewClock(time.Now()), registry: prometheus.NewRegistry(),
	}
	r.Breaker = outage.New(r.JS, "sandbox",
		outage.Options{Failures: 3, Window: 10 * time.Second, First: 10 * time.Minute, Longest: 35 * time.Minute, Accounts: accounts},
		outage.NewMetrics(r.registry), zap.NewNop(), r.clock.Now)
	return r
}

func (r *rig) acquire() outage.Permit { r.T.Helper(); return r.acquireFor("default") }

func (r *rig) acquireFor(account string) outage.Permit {
	r.T.Helper()
	l, ok := r.Acquire(account)
	if !ok {
		r.T.Fatal("a look-up is denied")
	}
	return l
}

func (r *rig) fail(times int) {
	r.T.Helper()
	for range times {
		r.Failed(r.Ctx, r.acquire())
	}
}

// denied reports whether an account's look-ups are denied. A permit is released.
func (r *rig) denied(account string) bool {
	l, ok := r.Acquire(account)
	r.Release(l)
	return !ok
}

// gauge is the value of the metric.
func (r *rig) gauge() float64 {
	r.T.Helper()
	return testbench.Value(r.T, r.registry, "arauto_provider_paused")
}

// paused reads from the broker for how long the consumers of a provider
// pause; both must agree.
func (r *rig) paused(provider string) time.Duration {
	r.T.Helper()
	left := r.left(provider)
	if gap := left[0] - left[1]; gap.Abs() > 30*time.Second {
		r.T.Fatalf("consumers of %s pause for %v and %v", provider, left[0], left[1])
	}
	return left[0].Round(time.Minute)
}

// left is how long each consumer of a provider still pauses. They are paused and
// resumed one after the other.
func (r *rig) left(provider string) (left [2]time.Duration) {
	r.T.Helper()
	for i, c := range []struct{ stream, consumer string }{
		{subject.Notifications, subject.LookupConsumer(provider)},
		{subject.LookupRetries, subject.LookupDueConsumer(provider)},
	} {
		consumer, err := r.JS.Consumer(r.Ctx, c.stream, c.consumer)
		r.Must(err)
		left[i] = consumer.CachedInfo().PauseRemaining
	}
	return left
}

func TestFailuresPauseEveryWorker(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fail(2)
	if got := r.paused("sandbox"); got != 0 {
		t.Fatalf("two failures pause for %v", got)
	}
	r.fail(1)
	if got := r.paused("sandbox"); got != 10*time.Minute {
		t.Errorf("three failures pause for %v", got)
	}
	if got := r.paused("picpay"); got != 0 {
		t.Errorf("another provider is paused for %v", got)
	}
	if !r.denied("default") {
		t.Error("a look-up is allowed during the pause")
	}
	if got := testutil.CollectAndCount(r.registry); got != 2 {
		t.Errorf("%d numbers, want 2", got)
	}
}

func TestAnswerOrTimeBetweenFailuresEndsTheStreak(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for range 5 {
		r.fail(2)
		r.Answered(r.Ctx, r.acquire())
	}
	for range 5 {
		r.fail(2)
		r.clock.Advance(11 * time.Second)
	}
	if got := r.paused("sandbox"); got != 0 {
		t.Errorf("paused for %v", got)
	}
}

func TestFailedProbesDoubleThePause(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fail(3)
	for _, want := range []time.Duration{20, 35, 35} {
		r.clock.Advance(36 * time.Minute)
		probe := r.acquire()
		if !r.denied("default") {
			t.Fatal("two probes at a time")
		}
		r.Failed(r.Ctx, probe)
		if got := r.paused("sandbox"); got != want*time.Minute {
			t.Errorf("a failing probe pauses for %v, want %d min", got, want)
		}
	}
}

func TestAnsweredProbeResumesTheConsumers(t *testing.T) {
	t.Parallel()
	r := setup(t)
	late := r.acquire() // Acquired before the outage, and answered during it.
	r.fail(3)
	r.Answered(r.Ctx, late)
	if got := r.paused("sandbox"); got != 10*time.Minute {
		t.Errorf("an answer from before leaves a pause of %v", got)
	}
	r.clock.Advance(11 * time.Minute)
	r.Answered(r.Ctx, r.acquire())
	if got := r.paused("sandbox"); got != 0 {
		t.Errorf("still paused for %v", got)
	}
	r.acquire()
	r.acquire() // More than one at a time again.
	r.fail(2)
	if got := r.paused("sandbox"); got != 0 {
		t.Errorf("failures from before the answer count: paused for %v", got)
	}
}

// Each account has a base URL of its own, which may be wrong.
func TestFailingAccountBesideAnAnsweredOneDoesNotPause(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "default", "acme")
	for range 5 {
		r.Answered(r.Ctx, r.acquireFor("acme"))
		r.fail(5)
		r.clock.Advance(9 * time.Second)
		r.fail(5)
	}
	if got := r.paused("sandbox"); got != 0 || r.gauge() != 0 {
		t.Fatalf("one of two accounts pauses both for %v, and the metric says %v", got, r.gauge())
	}
	r.Failed(r.Ctx, r.acquireFor("acme"))
	if got := r.paused("sandbox"); got != 10*time.Minute || r.gauge() != 1 {
		t.Errorf("with the other account it is %v, and the metric says %v", got, r.gauge())
	}
}

// An account without look-ups does not show whether the provider answers.
func TestFailingAccountBesideAnIdleOnePauses(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "default", "acme")
	r.Answered(r.Ctx, r.acquireFor("acme"))
	r.clock.Advance(11 * time.Second)
	r.fail(3)
	if got := r.paused("sandbox"); got != 10*time.Minute || r.gauge() != 1 {
		t.Fatalf("it pauses for %v, and the metric says %v", got, r.gauge())
	}
	r.clock.Advance(11 * time.Minute)
	r.Failed(r.Ctx, r.acquire())
	r.Answered(r.Ctx, r.acquireFor("acme"))
	if got := r.paused("sandbox"); got != 0 || r.gauge() != 0 {
		t.Fatalf("after the other one's answer it pauses for %v, and the metric says %v", got, r.gauge())
	}
	for range 3 {
		r.fail(10)
		r.clock.Advance(9 * time.Second)
		r.Answered(r.Ctx, r.acquireFor("acme"))
	}
	r.fail(10)
	if r.denied("default") || r.denied("acme") {
		t.Error("while the other one is answered it pauses again")
	}
}

// resumedOfTwo is a provider of two accounts whose pause has just ended.
func resumedOfTwo(t *testing.T) *rig {
	t.Helper()
	r := setupFor(t, "default", "acme")
	r.fail(2)
	r.Failed(r.Ctx, r.acquireFor("acme"))
	r.clock.Advance(11 * time.Minute)
	return r
}

func TestOtherAccountProbesAfterAFailedProbe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		other func(r *rig, l outage.Permit)
		want  time.Duration
	}{
		"which is answered": {func(r *rig, l outage.Permit) { r.Answered(r.Ctx, l) }, 0},
		"which fails too":   {func(r *rig, l outage.Permit) { r.Failed(r.Ctx, l) }, 20 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := resumedOfTwo(t)
			r.Failed(r.Ctx, r.acquire())
			if !r.denied("default") {
				t.Error("the account whose probe failed probes again at once")
			}
			c.other(r, r.acquireFor("acme"))
			if got := r.paused("sandbox"); got != c.want || r.denied("acme") != (c.want > 0) {
				t.Errorf("the pause is %v, want %v", got, c.want)
			}
		})
	}
}

func TestOnlyAccountsFailedProbeDoublesThePause(t *testing.T) {
	t.Parallel()
	r := resumedOfTwo(t)
	r.Failed(r.Ctx, r.acquire())
	r.clock.Advance(10 * time.Minute)
	r.Failed(r.Ctx, r.acquire())
	if got := r.paused("sandbox"); got != 20*time.Minute || !r.denied("acme") || r.gauge() != 1 {
		t.Errorf("the pause is %v, and the metric says %v", got, r.gauge())
	}
}

func TestFailedProbeEndsThePauseIfAnotherAccountIsAnswered(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "default", "acme")
	late := r.acquireFor("acme") // Acquired before the pause, which its answer alone does not end.
	r.fail(3)
	r.clock.Advance(11 * time.Minute)
	r.Answered(r.Ctx, late)
	if r.gauge() != 1 {
		t.Fatal("an answer from before ends the pause")
	}
	r.Failed(r.Ctx, r.acquire())
	if r.denied("default") || r.denied("acme") || r.gauge() != 0 {
		t.Errorf("it goes on, and the metric says %v", r.gauge())
	}
	r.fail(10)
	if r.denied("default") {
		t.Error("the account that fails alone is paused again")
	}
}

func TestReleasedProbeIsAllowedAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fail(3)
	r.clock.Advance(11 * time.Minute)
	r.Release(r.acquire())
	r.acquire()
}

func TestWorkerPausesWithoutBroker(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Stop()
	ctx, cancel := context.WithTimeout(r.Ctx, 100*time.Millisecond)
	defer cancel()
	for range 3 {
		r.Failed(ctx, r.acquire())
	}
	if !r.denied("default") {
		t.Error("without a broker the worker does not pause")
	}
}

func TestOnePaymentsFailuresDoNotPause(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for range 10 {
		r.Failed(r.Ctx, r.acquire().About("p-1"))
	}
	if r.denied("default") {
		t.Error("one payment paused the provider")
	}
	for _, payment := range []string{"p-2", "p-3"} {
		r.Failed(r.Ctx, r.acquire().About(payment))
	}
	if !r.denied("default") {
		t.Error("three payments did not")
	}
}
