package outage_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"arauto/deploy/topology/jetstreamtest"
	"arauto/schemas/subject"
	"arauto/workers/outage"
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

func setup(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		Broker: jetstreamtest.Start(t, "sandbox", "picpay"), t: t, ctx: jetstreamtest.Context(t),
		at: time.Now(), registry: prometheus.NewRegistry(),
	}
	r.Breaker = outage.New(r.JS, "sandbox",
		outage.Options{Failures: 3, Window: 10 * time.Second, First: 10 * time.Minute, Longest: 35 * time.Minute},
		outage.NewMetrics(r.registry), zap.NewNop(), func() time.Time { return r.at })
	return r
}

func (r *rig) enter() outage.Leave {
	r.t.Helper()
	l, ok := r.Enter()
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

// paused reads from the broker for how long the consumers of a provider
// pause; both must agree.
func (r *rig) paused(provider string) time.Duration {
	r.t.Helper()
	var left [2]time.Duration
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
	if gap := left[0] - left[1]; gap.Abs() > 30*time.Second {
		r.t.Fatalf("consumers of %s pause for %v and %v", provider, left[0], left[1])
	}
	return left[0].Round(time.Minute)
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
	if _, ok := r.Enter(); ok {
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
		if _, ok := r.Enter(); ok {
			t.Fatal("two probes at a time")
		}
		at := r.at
		r.Failed(r.ctx, probe)
		// The broker counts from now, our clock is ahead of it.
		if got := r.paused("sandbox") - time.Until(at).Round(time.Minute); got != want*time.Minute {
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

func TestAbandonedProbeIsGivenToTheNext(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.fail(3)
	r.at = r.at.Add(11 * time.Minute)
	r.Abandon(r.enter())
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
	if _, ok := r.Enter(); ok {
		t.Error("without the broker's help it goes on asking")
	}
}
