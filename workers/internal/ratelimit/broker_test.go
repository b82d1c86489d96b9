package ratelimit

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// holder starts a worker on the broker, until stop or the end of the test.
func holder(b *testbench.Broker) (f *Fleet, l *Limiter, stop func()) {
	b.T.Helper()
	f, err := OpenFleet(b.Ctx, b.JS, []string{"sandbox"}, zap.NewNop())
	b.Must(err)
	l = f.Limiter("sandbox", Limit{Rate: 100, Burst: 100, Concurrency: 8})
	if l.Ready() {
		b.T.Error("it has a share before it holds a lease")
	}
	ctx, cancel := context.WithCancel(b.Ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx); err != nil {
			b.T.Errorf("run: %v", err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	b.T.Cleanup(stop)
	return f, l, stop
}

// shareOf is a limiter's share now, 0 if it has ended.
func shareOf(l *Limiter) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ready(l.now()) {
		return 0
	}
	return l.share
}

func TestWorkersOnOneBrokerShareTheRate(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	first, one, _ := holder(b)
	b.Until("the first worker has the whole", func() bool { return shareOf(one) == 1 })
	if _, ok := one.Allow(Known); !ok {
		t.Error("a worker that is alone begins without its burst")
	}
	_, two, stop := holder(b)
	b.Until("both have a half", func() bool { return shareOf(one) == 0.5 && shareOf(two) == 0.5 })
	if first.Size() != 2 {
		t.Errorf("it counts %d workers", first.Size())
	}
	stop()
	if two.Ready() {
		t.Error("a worker that has ended has a share")
	}
	b.Until("the first worker has the whole again", func() bool { return shareOf(one) == 1 })
}

// A worker that was killed is counted until its lease has ended.
func TestKilledWorkersShareIsFreed(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	leases := brokerLeases{b.JS, b.Stream(subject.Leases)}
	b.Must(leases.store(b.Ctx, "killed", lease{Providers: []string{"sandbox"}}))
	began := time.Now()
	_, l, _ := holder(b)
	b.Until("the living one has the whole", func() bool { return shareOf(l) == 1 })
	if took := time.Since(began); took < leaseTerm {
		t.Errorf("its share was free after %v", took)
	}
}

func TestWorkerWithoutBrokerStops(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	_, l, _ := holder(b)
	b.Until("it has a share", l.Ready)
	b.Stop()
	b.Until("its lease has ended", func() bool { return !l.Ready() })
	b.Restart()
	b.Until("it has joined again", func() bool { return shareOf(l) == 1 })
}

// A worker that looks up another provider's payments takes no share of this one's.
func TestProvidersAreDividedAmongTheirWorkers(t *testing.T) {
	t.Parallel()
	m := members{others: map[string]member{}}
	now := time.Now()
	m.join("a")
	m.confirmed(now, now)
	m.take(storedLease{name: "b", sequence: 2, lease: lease{Providers: []string{"yapay"}, Counts: []string{"a"}}}, now)
	m.take(storedLease{name: "c", sequence: 3, lease: lease{Providers: []string{"sandbox"}, Counts: []string{"a"}}}, now)
	if m.share("sandbox") != 0.5 || m.share("yapay") != 0.5 || m.share("picpay") != 1 {
		t.Errorf("its shares are %v, %v and %v", m.share("sandbox"), m.share("yapay"), m.share("picpay"))
	}
}
