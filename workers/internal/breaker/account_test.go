package breaker_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
)

func TestMain(m *testing.M) { testbench.Main(m) }

const (
	bank    = "sandbox"
	account = "acme"
)

// rig is a broker and a clock that the test sets.
type rig struct {
	*testbench.Broker
	store *breaker.Store
	clock testbench.Clock
}

func setup(t *testing.T) *rig {
	t.Helper()
	r := &rig{Broker: testbench.Start(t, bank)}
	var err error
	r.store, err = breaker.Open(r.Ctx, r.JS)
	r.Must(err)
	return r
}

func (r *rig) acquire(v *breaker.Cache) breaker.Permit { return v.Acquire(bank, account) }

// cache is one worker's cache; it does not follow changes by itself.
func (r *rig) cache() (*breaker.Cache, *prometheus.Registry) {
	r.T.Helper()
	registry := prometheus.NewRegistry()
	v, err := breaker.NewCache(r.Ctx, r.store, breaker.Options{
		Waits: breaker.Waits{First: 5 * time.Second, Longest: time.Minute, Expiry: 20 * time.Second}, Name: "worker", Now: r.clock.Now,
	}, breaker.NewMetrics(registry), zap.NewNop())
	r.Must(err)
	return v, registry
}

// follow keeps a cache up to date until the test ends.
func (r *rig) follow(v *breaker.Cache) { r.Go("follow", v.Run) }

func (r *rig) refuse(v *breaker.Cache, p breaker.Permit) time.Duration {
	r.T.Helper()
	wait, err := v.Refused(r.Ctx, p, 0)
	r.Must(err)
	return wait.Round(100 * time.Millisecond)
}

// probe acquires the probe that is due.
func (r *rig) probe(v *breaker.Cache) breaker.Permit {
	r.T.Helper()
	p, err := v.AcquireProbe(r.Ctx, r.acquire(v))
	r.Must(err)
	if p.Denied {
		r.T.Fatal("the due probe was not given")
	}
	return p
}

func (r *rig) recorded() record.Circuit {
	r.T.Helper()
	all, err := r.store.List(r.Ctx)
	r.Must(err)
	if len(all) != 1 {
		r.T.Fatalf("%d records, want 1", len(all))
	}
	return all[0]
}

func TestRefusedCredentialStopsEveryWorkerAtOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	here, registry := r.cache()
	there, _ := r.cache()
	r.follow(there)
	// Once it has taken a change in, its subscription is active.
	r.Must(r.store.OpenBy(r.Ctx, bank, "warm-up", "ana"))
	r.Until("the cache follows", func() bool { return there.Acquire(bank, "warm-up").Denied })
	r.refuse(here, r.acquire(here))
	if !r.acquire(here).Denied {
		t.Error("the worker whose credential was refused does not stop")
	}
	began := time.Now()
	r.Until("the cache follows", func() bool { return r.acquire(there).Denied })
	if took := time.Since(began); took > time.Second {
		t.Errorf("the other worker stopped after %v", took)
	}
	if p := there.Acquire(bank, "another"); p.Denied {
		t.Error("another account is stopped too")
	}
	if p := there.Acquire("picpay", account); p.Denied {
		t.Error("the account of that name at another provider is stopped too")
	}
	if n, err := testutil.GatherAndCount(registry, "arauto_circuit_open", "arauto_circuit_openings_total"); err != nil || n != 2 {
		t.Errorf("%d series, error %v", n, err)
	}
}

func TestOpenCircuitSurvivesRestart(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first, _ := r.cache()
	r.refuse(first, r.acquire(first))
	r.Stop()
	r.Until("the connection is lost", func() bool { return !r.NC.IsConnected() })
	r.Restart()
	r.Until("the connection is back", r.NC.IsConnected)
	second, _ := r.cache()
	p := r.acquire(second)
	if wait := second.Defer(p, 0); !p.Denied || p.Cause != "credential" || wait <= 0 || wait > 5*time.Second {
		t.Errorf("a new worker's permit is %+v, and its wait %v", p, wait)
	}
	c := r.recorded()
	if c.State != record.CircuitOpen || c.Cause != "credential" || c.By != "worker" || c.Wait != 5*time.Second || c.Account != account {
		t.Errorf("record is %+v", c)
	}
}

func TestOneOfManyWorkersProbes(t *testing.T) {
	t.Parallel()
	r := setup(t)
	caches := make([]*breaker.Cache, 8)
	for i := range caches {
		caches[i], _ = r.cache()
	}
	r.refuse(caches[0], r.acquire(caches[0]))
	for i := range caches {
		caches[i], _ = r.cache()
	}
	r.clock.Advance(6 * time.Second)
	var probes atomic.Int32
	var all sync.WaitGroup
	for _, v := range caches {
		p := r.acquire(v) // Each sees that a probe is due before one of them acquires it.
		if p.Denied {
			t.Fatal("no probe is due")
		}
		all.Go(func() {
			taken, err := v.AcquireProbe(r.Ctx, p)
			if err != nil {
				t.Errorf("acquire probe: %v", err)
			}
			if !taken.Denied {
				probes.Add(1)
			}
		})
	}
	all.Wait()
	if got := probes.Load(); got != 1 {
		t.Errorf("%d workers probe, want 1", got)
	}
	for i, v := range caches {
		if !r.acquire(v).Denied {
			t.Errorf("worker %d would probe too", i)
		}
	}
}

func TestAnsweredProbeClosesTheCircuit(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, registry := r.cache()
	v.Acquire(bank, account)
	r.refuse(v, r.acquire(v))
	r.clock.Advance(6 * time.Second)
	p := r.probe(v)
	r.Must(v.Answered(r.Ctx, p))
	if r.acquire(v).Denied || r.recorded().State != record.CircuitClosed {
		t.Errorf("after an answer the record is %+v", r.recorded())
	}
	if open, _ := testbench.Metric(t, registry, "arauto_circuit_open"); open != 0 {
		t.Error("the gauge still says that the circuit is open")
	}
}

func TestFailedProbesDoubleTheWait(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	waits := []time.Duration{r.refuse(v, r.acquire(v))}
	for range 5 {
		r.clock.Advance(waits[len(waits)-1] + time.Millisecond)
		waits = append(waits, r.refuse(v, r.probe(v)))
	}
	for i, want := range []time.Duration{5, 10, 20, 40, 60, 60} {
		if waits[i] != want*time.Second {
			t.Errorf("probe %d comes after %v, want %d s", i+1, waits[i], want)
		}
	}
	if c := r.recorded(); c.Probes != 5 {
		t.Errorf("record is %+v", c)
	}
}

// recreate deletes the stream and creates it again.
func (r *rig) recreate() {
	r.T.Helper()
	stream, err := r.JS.Stream(r.Ctx, subject.Circuits)
	r.Must(err)
	config := stream.CachedInfo().Config
	r.Must(r.JS.DeleteStream(r.Ctx, subject.Circuits))
	_, err = r.JS.CreateStream(r.Ctx, config)
	r.Must(err)
}

func TestRecreatedStreamClosesTheCircuit(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	r.refuse(v, r.acquire(v))
	r.recreate()
	r.clock.Advance(6 * time.Second)
	p, err := v.AcquireProbe(r.Ctx, r.acquire(v))
	r.Must(err)
	if !p.Denied || r.acquire(v).Denied {
		t.Errorf("after the stream was recreated, the probe's permit is %+v, and then %+v", p, r.acquire(v))
	}
	r.refuse(v, r.acquire(v))
	r.Must(r.store.CloseBy(r.Ctx, bank, account, "ana"))
	r.clock.Advance(6 * time.Second)
	_, err = v.AcquireProbe(r.Ctx, r.acquire(v)) // Reads the operator's record.
	r.Must(err)
	r.recreate()
	r.refuse(v, r.acquire(v)) // Reads that there is no record.
	r.refuse(v, r.acquire(v))
	if got := r.recorded(); got.State != record.CircuitOpen {
		t.Errorf("a refused credential leaves the record %+v", got)
	}
}

func TestOperatorOpensAfterTheStreamWasRecreated(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	r.follow(v)
	for range 3 { // So that its sequence is higher than any of the new stream.
		r.Must(r.store.OpenBy(r.Ctx, bank, account, "ana"))
	}
	r.Until("the cache follows", func() bool { return r.acquire(v).Denied })
	r.recreate()
	r.Until("the cache follows", func() bool { return !r.acquire(v).Denied }) // The new stream has no record.
	r.Must(r.store.OpenBy(r.Ctx, bank, account, "ana"))
	r.Until("the cache follows", func() bool { return r.acquire(v).Denied })
}

func TestWaitsGrowWhileAnOperatorKeepsTheCircuitOpen(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	r.Must(r.store.OpenBy(r.Ctx, bank, account, "ana"))
	r.follow(v)
	r.Until("the cache follows", func() bool { return r.acquire(v).Denied })
	if got := v.Defer(r.acquire(v), 1); got != 15*time.Second {
		t.Errorf("at first the last waits %v", got)
	}
	r.clock.Advance(time.Hour)
	if got := v.Defer(r.acquire(v), 1).Round(time.Second); got != 5*time.Second+5*time.Minute {
		t.Errorf("after an hour the last waits %v", got)
	}
}

// A provider may refuse a single payment, so the same payment must not make every
// probe.
func TestFailedProbeWaitsWithJitter(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	first, err := v.Refused(r.Ctx, r.acquire(v), 0.5)
	r.Must(err)
	if first.Round(time.Second) != 5*time.Second {
		t.Errorf("the payment that opens the circuit waits %v", first)
	}
	r.clock.Advance(first + time.Millisecond)
	again, err := v.Refused(r.Ctx, r.probe(v), 0.5)
	r.Must(err)
	if again.Round(time.Second) != 10*time.Second+5*time.Second {
		t.Errorf("the payment whose probe failed waits %v", again)
	}
}

func TestUnprovenProbeKeepsTheCircuitOpen(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	r.refuse(v, r.acquire(v))
	r.clock.Advance(6 * time.Second)
	r.Must(v.Unproven(r.Ctx, r.probe(v)))
	if p := r.acquire(v); !p.Denied {
		t.Error("the circuit closes without an answer")
	}
	r.clock.Advance(6 * time.Second)
	r.probe(v)
}

func TestProbeExpires(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	r.refuse(v, r.acquire(v))
	r.clock.Advance(6 * time.Second)
	lost := r.probe(v)
	other, _ := r.cache()
	if !r.acquire(other).Denied {
		t.Error("two probe at a time")
	}
	r.clock.Advance(21 * time.Second)
	r.Must(other.Answered(r.Ctx, r.probe(other)))
	// The first worker was only slow. Its result no longer counts.
	if wait := r.refuse(v, lost); wait <= 0 || r.recorded().State != record.CircuitClosed {
		t.Errorf("a probe that has expired opens the circuit again: %+v", r.recorded())
	}
}

func TestOldRefusalDoesNotReopen(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	slow := r.acquire(v)
	r.refuse(v, r.acquire(v))
	r.clock.Advance(6 * time.Second)
	r.Must(v.Answered(r.Ctx, r.probe(v)))
	r.refuse(v, slow)
	if r.acquire(v).Denied || r.recorded().State != record.CircuitClosed {
		t.Errorf("an old refusal made the record %+v", r.recorded())
	}
}

func TestOperatorsCircuitStaysOpenUntilClosed(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	r.follow(v)
	r.Must(r.store.OpenBy(r.Ctx, bank, account, "ana"))
	r.Must(r.store.OpenBy(r.Ctx, bank, account, "ana"))
	r.Until("the cache follows", func() bool { return r.acquire(v).Denied })
	r.clock.Advance(48 * time.Hour)
	if p := r.acquire(v); !p.Denied || p.Cause != "operator" {
		t.Errorf("two days later the permit is %+v", p)
	}
	if c := r.recorded(); c.By != "ana" || c.State != record.CircuitOpen || c.Wait != 0 {
		t.Errorf("record is %+v", c)
	}
	r.Must(r.store.CloseBy(r.Ctx, bank, account, "rui"))
	r.Until("the cache follows", func() bool { return !r.acquire(v).Denied })
	if c := r.recorded(); c.By != "rui" || c.State != record.CircuitClosed {
		t.Errorf("record is %+v", c)
	}
}

func TestOperatorOverrulesAProbe(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.cache()
	r.refuse(v, r.acquire(v))
	r.clock.Advance(6 * time.Second)
	p := r.probe(v)
	r.Must(r.store.OpenBy(r.Ctx, bank, account, "ana"))
	r.Must(v.Answered(r.Ctx, p))
	if c := r.recorded(); c.State != record.CircuitOpen || c.By != "ana" || !r.acquire(v).Denied {
		t.Errorf("the probe overruled the operator: %+v", c)
	}
}
