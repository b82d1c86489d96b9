package outage_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"arauto/deploy/runtime/topology/jetstreamtest"
	"arauto/schemas/subject"
	"arauto/workers/internal/outage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a broker, a clock that the test turns, and a breaker that gives up
// after three failures within ten seconds.
type rig struct {
	*jetstreamtest.Broker
	*outage.Breaker
	t        *testing.T
	ctx      context.Context
	at       time.Time
	registry *prometheus.Registry
}

func setup(t *testing.T) *rig { t.Helper(); return setupFor(t, "default") }

// setupFor is setup for a provider with these accounts.
func setupFor(t *testing.T, accounts ...string) *rig {
	t.Helper()
	r := &rig{
		Broker: jetstreamtest.Start(t, "sandbox", "picpay"), t: t, ctx: jetstreamtest.Context(t),
		at: time.Now(), registry: prometheus.NewRegistry(),
	}
	r.Breaker = outage.New(r.JS, "sandbox",
		outage.Options{Failures: 3, Window: 10 * time.Second, First: 10 * time.Minute, Longest: 35 * time.Minute, Accounts: accounts},
		outage.NewMetrics(r.registry), zap.NewNop(), func() time.Time { return r.at })
	return r
}

func (r *rig) enter() outage.Permit { r.t.Helper(); return r.enterFor("default") }

func (r *rig) enterFor(account string) outage.Permit {
	r.t.Helper()
	l, ok := r.Acquire(account)
	if !ok {
		r.t.Fatal("no leave to ask")
	}
	return l
}

func (r *rig) fail(times int) {
	r.t.Helper()
	for range times {
		r.Failed(r.ctx, r.enter())
	}
}

// held reports whether an account's look-ups get no leave. One that got it is
// given back.
func (r *rig) held(account string) bool {
	l, ok := r.Acquire(account)
	r.Release(l)
	return !ok
}

// gauge is what the metric says of the pause.
func (r *rig) gauge() float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "arauto_provider_paused" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	r.t.Fatal("no metric")
	return 0
}

// paused reads from the broker for how long the consumers of a provider
// pause; both must agree.
func (r *rig) paused(provider string) time.Duration {
	r.t.Helper()
	left := r.left(provider)
	if gap := left[0] - left[1]; gap.Abs() > 30*time.Second {
		r.t.Fatalf("consumers of %s pause for %v and %v", provider, left[0], left[1])
	}
	return left[0].Round(time.Minute)
}

// left is how long each consumer of a provider still pauses. They are paused and
// resumed one after the other.
func (r *rig) left(provider string) (left [2]time.Duration) {
	r.t.Helper()
	for i, c := range []struct{ stream, consumer string }{
		{subject.Notifications, subject.LookupConsumer(provider)},
		{subject.LookupRetries, subject.LookupDueConsumer(provider)},
	} {
		consumer, err := r.JS.Consumer(r.ctx, c.stream, c.consumer)
		if err != nil {
			r.t.Fatal(err)
		}
		left[i] = consumer.CachedInfo().PauseRemaining
	}
	return left
}

func TestProviderThatNeverAnswersIsPausedForEveryWorker(t *testing.T) {
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
	if !r.held("default") {
		t.Error("there is leave to ask during the pause")
	}
	if got := testutil.CollectAndCount(r.registry); got != 2 {
		t.Errorf("%d numbers, want 2", got)
	}
}

func TestAnswersOrTimeBetweenFailuresKeepTheProviderUp(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for range 5 {
		r.fail(2)
		r.Answered(r.ctx, r.enter())
	}
	for range 5 {
		r.fail(2)
		r.at = r.at.Add(11 * time.Second)
	}
	if got := r.paused("sandbox"); got != 0 {
		t.Errorf("paused for %v", got)
	}
}

func TestOneProbeAtATimeAndLongerPauses(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fail(3)
	for _, want := range []time.Duration{20, 35, 35} {
		r.at = r.at.Add(36 * time.Minute)
		probe := r.enter()
		if !r.held("default") {
			t.Fatal("two probes at a time")
		}
		r.Failed(r.ctx, probe)
		if got := r.paused("sandbox"); got != want*time.Minute {
			t.Errorf("a failing probe pauses for %v, want %d min", got, want)
		}
	}
}

func TestAnsweredProbeResumesTheConsumers(t *testing.T) {
	t.Parallel()
	r := setup(t)
	late := r.enter() // Began before the outage, and is answered during it.
	r.fail(3)
	r.Answered(r.ctx, late)
	if got := r.paused("sandbox"); got != 10*time.Minute {
		t.Errorf("an answer from before leaves a pause of %v", got)
	}
	r.at = r.at.Add(11 * time.Minute)
	r.Answered(r.ctx, r.enter())
	if got := r.paused("sandbox"); got != 0 {
		t.Errorf("still paused for %v", got)
	}
	r.enter()
	r.enter() // No longer one at a time.
	r.fail(2)
	if got := r.paused("sandbox"); got != 0 {
		t.Errorf("failures from before the answer count: paused for %v", got)
	}
}

// Each account has an address of its own, which may be wrong.
func TestAccountThatFailsWhileAnotherIsAnsweredPausesNobody(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "default", "acme")
	for range 5 {
		r.Answered(r.ctx, r.enterFor("acme"))
		r.fail(5)
		r.at = r.at.Add(9 * time.Second)
		r.fail(5)
	}
	if got := r.paused("sandbox"); got != 0 || r.gauge() != 0 {
		t.Fatalf("one of two accounts pauses both for %v, and the metric says %v", got, r.gauge())
	}
	r.Failed(r.ctx, r.enterFor("acme"))
	if got := r.paused("sandbox"); got != 10*time.Minute || r.gauge() != 1 {
		t.Errorf("with the other account it is %v, and the metric says %v", got, r.gauge())
	}
}

// An account that has nothing to ask does not tell whether the provider is there.
func TestAccountThatFailsBesideAnIdleOnePauses(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "default", "acme")
	r.Answered(r.ctx, r.enterFor("acme"))
	r.at = r.at.Add(11 * time.Second)
	r.fail(3)
	if got := r.paused("sandbox"); got != 10*time.Minute || r.gauge() != 1 {
		t.Fatalf("it pauses for %v, and the metric says %v", got, r.gauge())
	}
	r.at = r.at.Add(11 * time.Minute)
	r.Failed(r.ctx, r.enter())
	r.Answered(r.ctx, r.enterFor("acme"))
	if got := r.paused("sandbox"); got != 0 || r.gauge() != 0 {
		t.Fatalf("after the other one's answer it pauses for %v, and the metric says %v", got, r.gauge())
	}
	for range 3 {
		r.fail(10)
		r.at = r.at.Add(9 * time.Second)
		r.Answered(r.ctx, r.enterFor("acme"))
	}
	r.fail(10)
	if r.held("default") || r.held("acme") {
		t.Error("while the other one is answered it pauses again")
	}
}

// resumedOfTwo is a provider of two accounts whose pause has just ended.
func resumedOfTwo(t *testing.T) *rig {
	t.Helper()
	r := setupFor(t, "default", "acme")
	r.fail(2)
	r.Failed(r.ctx, r.enterFor("acme"))
	r.at = r.at.Add(11 * time.Minute)
	return r
}

func TestFailingProbeLetsTheOtherAccountProbe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		other func(r *rig, l outage.Permit)
		want  time.Duration
	}{
		"which is answered": {func(r *rig, l outage.Permit) { r.Answered(r.ctx, l) }, 0},
		"which fails too":   {func(r *rig, l outage.Permit) { r.Failed(r.ctx, l) }, 20 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := resumedOfTwo(t)
			r.Failed(r.ctx, r.enter())
			if !r.held("default") {
				t.Error("the account whose probe failed probes again at once")
			}
			c.other(r, r.enterFor("acme"))
			if got := r.paused("sandbox"); got != c.want || r.held("acme") != (c.want > 0) {
				t.Errorf("the pause is %v, want %v", got, c.want)
			}
		})
	}
}

func TestAccountThatProbesAloneInVainIsPausedForLonger(t *testing.T) {
	t.Parallel()
	r := resumedOfTwo(t)
	r.Failed(r.ctx, r.enter())
	r.at = r.at.Add(10 * time.Minute)
	r.Failed(r.ctx, r.enter())
	if got := r.paused("sandbox"); got != 20*time.Minute || !r.held("acme") || r.gauge() != 1 {
		t.Errorf("the pause is %v, and the metric says %v", got, r.gauge())
	}
}

func TestProbeInVainEndsThePauseWhereAnotherAccountIsAnswered(t *testing.T) {
	t.Parallel()
	r := setupFor(t, "default", "acme")
	late := r.enterFor("acme") // Began before the pause, which its answer alone does not end.
	r.fail(3)
	r.at = r.at.Add(11 * time.Minute)
	r.Answered(r.ctx, late)
	if r.gauge() != 1 {
		t.Fatal("an answer from before ends the pause")
	}
	r.Failed(r.ctx, r.enter())
	if r.held("default") || r.held("acme") || r.gauge() != 0 {
		t.Errorf("it goes on, and the metric says %v", r.gauge())
	}
	r.fail(10)
	if r.held("default") {
		t.Error("the account that fails alone is paused again")
	}
}

func TestAbandonedProbeIsGivenToTheNext(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fail(3)
	r.at = r.at.Add(11 * time.Minute)
	r.Release(r.enter())
	r.enter()
}

func TestBrokerThatCannotPauseLeavesThisWorkerWaiting(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.Stop()
	ctx, cancel := context.WithTimeout(r.ctx, 100*time.Millisecond)
	defer cancel()
	for range 3 {
		r.Failed(ctx, r.enter())
	}
	if !r.held("default") {
		t.Error("without the broker's help it goes on asking")
	}
}

func TestOnePaymentThatFailsAgainAndAgainPausesNobody(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for range 10 {
		r.Failed(r.ctx, r.enter().About("p-1"))
	}
	if r.held("default") {
		t.Error("one payment paused the provider")
	}
	for _, payment := range []string{"p-2", "p-3"} {
		r.Failed(r.ctx, r.enter().About(payment))
	}
	if !r.held("default") {
		t.Error("three payments did not")
	}
}
