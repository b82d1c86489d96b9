package circuit_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"arauto/deploy/runtime/topology/jetstreamtest"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/circuit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	bank    = "sandbox"
	account = "acme"
)

// rig is a broker and a clock that the test turns.
type rig struct {
	*jetstreamtest.Broker
	t     *testing.T
	ctx   context.Context
	board *circuit.Store
	ahead atomic.Int64 // Of the real clock.
}

func setup(t *testing.T) *rig {
	t.Helper()
	r := &rig{Broker: jetstreamtest.Start(t, bank), t: t, ctx: jetstreamtest.Context(t)}
	var err error
	if r.board, err = circuit.Open(r.ctx, r.JS); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) now() time.Time                       { return time.Now().Add(time.Duration(r.ahead.Load())) }
func (r *rig) pass(d time.Duration)                 { r.ahead.Add(int64(d)) }
func (r *rig) look(v *circuit.Cache) circuit.Permit { return v.Acquire(bank, account, 0) }

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// view is what one worker knows; it does not follow changes by itself.
func (r *rig) view() (*circuit.Cache, *prometheus.Registry) {
	r.t.Helper()
	registry := prometheus.NewRegistry()
	v, err := circuit.NewCache(r.ctx, r.board, circuit.Options{
		First: 5 * time.Second, Longest: time.Minute, Expiry: 20 * time.Second, Spread: 10 * time.Second, Name: "worker", Now: r.now,
	}, circuit.NewMetrics(registry), zap.NewNop())
	r.must(err)
	return v, registry
}

func (r *rig) follow(v *circuit.Cache) {
	ctx, stop := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			r.t.Errorf("run: %v", err)
		}
	})
}

func (r *rig) refuse(v *circuit.Cache, p circuit.Permit) time.Duration {
	r.t.Helper()
	wait, err := v.Refused(r.ctx, bank, account, p, 0)
	r.must(err)
	return wait
}

// claim takes the probe that is due.
func (r *rig) claim(v *circuit.Cache) circuit.Permit {
	r.t.Helper()
	p, err := v.AcquireProbe(r.ctx, r.look(v), 0)
	r.must(err)
	if p.Held {
		r.t.Fatal("the due probe was not given")
	}
	return p
}

func (r *rig) recorded() record.Circuit {
	r.t.Helper()
	all, err := r.board.List(r.ctx)
	r.must(err)
	if len(all) != 1 {
		r.t.Fatalf("%d records, want 1", len(all))
	}
	return all[0]
}

func TestRefusalStopsTheAccountInEveryWorkerAtOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	here, registry := r.view()
	there, _ := r.view()
	r.follow(there)
	// Once it has heard of something, it listens.
	r.must(r.board.OpenBy(r.ctx, bank, "warm-up", "ana", r.now()))
	r.settled(func() bool { return there.Acquire(bank, "warm-up", 0).Held })
	r.refuse(here, r.look(here))
	if !r.look(here).Held {
		t.Error("the worker that was refused goes on")
	}
	began := time.Now()
	r.settled(func() bool { return r.look(there).Held })
	if took := time.Since(began); took > time.Second {
		t.Errorf("the other worker heard of it after %v", took)
	}
	if p := there.Acquire(bank, "another", 0); p.Held {
		t.Error("another account is stopped too")
	}
	if p := there.Acquire("picpay", account, 0); p.Held {
		t.Error("the account of that name at another provider is stopped too")
	}
	if n, err := testutil.GatherAndCount(registry, "arauto_circuit_open", "arauto_circuit_openings_total"); err != nil || n != 2 {
		t.Errorf("%d numbers, error %v", n, err)
	}
}

func TestRecordSurvivesTheWorkers(t *testing.T) {
	t.Parallel()
	r := setup(t)
	first, _ := r.view()
	r.refuse(first, r.look(first))
	r.Stop()
	r.settled(func() bool { return !r.NC.IsConnected() })
	r.Restart()
	r.settled(r.NC.IsConnected)
	second, _ := r.view()
	p := r.look(second)
	if !p.Held || p.Cause != "credential" || p.Wait <= 0 || p.Wait > 5*time.Second {
		t.Errorf("a new worker's pass is %+v", p)
	}
	c := r.recorded()
	if c.State != record.CircuitOpen || c.Cause != "credential" || c.By != "worker" || c.NextProbe == nil || c.Account != account {
		t.Errorf("record is %+v", c)
	}
}

func TestOneOfManyWorkersProbes(t *testing.T) {
	t.Parallel()
	r := setup(t)
	views := make([]*circuit.Cache, 8)
	for i := range views {
		views[i], _ = r.view()
	}
	r.refuse(views[0], r.look(views[0]))
	for i := range views {
		views[i], _ = r.view()
	}
	r.pass(6 * time.Second)
	var probes atomic.Int32
	var all sync.WaitGroup
	for _, v := range views {
		p := r.look(v) // All see that one is due before anybody takes it.
		if p.Held {
			t.Fatal("no probe is due")
		}
		all.Go(func() {
			taken, err := v.AcquireProbe(r.ctx, p, 0)
			if err != nil {
				t.Errorf("claim: %v", err)
			}
			if !taken.Held {
				probes.Add(1)
			}
		})
	}
	all.Wait()
	if got := probes.Load(); got != 1 {
		t.Errorf("%d workers probe, want 1", got)
	}
	for i, v := range views {
		if !r.look(v).Held {
			t.Errorf("worker %d would probe too", i)
		}
	}
}

func TestAnsweredProbeClosesTheCircuit(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, registry := r.view()
	v.Acquire(bank, account, 0)
	r.refuse(v, r.look(v))
	r.pass(6 * time.Second)
	p := r.claim(v)
	r.must(v.Answered(r.ctx, p))
	if r.look(v).Held || r.recorded().State != record.CircuitClosed {
		t.Errorf("after an answer the record is %+v", r.recorded())
	}
	metrics, err := registry.Gather()
	r.must(err)
	for _, m := range metrics {
		if m.GetName() == "arauto_circuit_open" && m.GetMetric()[0].GetGauge().GetValue() != 0 {
			t.Error("the alarm stays up")
		}
	}
}

func TestFailingProbesComeLessAndLessOften(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	waits := []time.Duration{r.refuse(v, r.look(v))}
	for range 5 {
		r.pass(waits[len(waits)-1] + time.Millisecond)
		waits = append(waits, r.refuse(v, r.claim(v)))
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

// forgotten makes the stream of circuits anew.
func (r *rig) forgotten() {
	r.t.Helper()
	stream, err := r.JS.Stream(r.ctx, subject.Circuits)
	r.must(err)
	config := stream.CachedInfo().Config
	r.must(r.JS.DeleteStream(r.ctx, subject.Circuits))
	_, err = r.JS.CreateStream(r.ctx, config)
	r.must(err)
}

func TestCircuitGoesOnWhenItsRecordIsForgotten(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	r.refuse(v, r.look(v))
	r.forgotten()
	r.pass(6 * time.Second)
	p, err := v.AcquireProbe(r.ctx, r.look(v), 0)
	r.must(err)
	if !p.Held || r.look(v).Held {
		t.Errorf("the probe of a forgotten circuit is %+v, and then %+v", p, r.look(v))
	}
	r.refuse(v, r.look(v))
	r.must(r.board.CloseBy(r.ctx, bank, account, "ana", r.now()))
	r.pass(6 * time.Second)
	_, err = v.AcquireProbe(r.ctx, r.look(v), 0) // Learns of the operator's word.
	r.must(err)
	r.forgotten()
	r.refuse(v, r.look(v)) // Learns that there is no record.
	r.refuse(v, r.look(v))
	if got := r.recorded(); got.State != record.CircuitOpen {
		t.Errorf("a refused credential leaves the record %+v", got)
	}
}

func TestOperatorsWordIsHeardAlsoAfterTheStreamWasRecreated(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	r.follow(v)
	for range 3 { // So that its number is higher than any of the new stream.
		r.must(r.board.OpenBy(r.ctx, bank, account, "ana", r.now()))
	}
	r.settled(func() bool { return r.look(v).Held })
	r.forgotten()
	r.settled(func() bool { return !r.look(v).Held }) // Nobody has stopped it, as far as the broker says.
	r.must(r.board.OpenBy(r.ctx, bank, account, "ana", r.now()))
	r.settled(func() bool { return r.look(v).Held })
}

func TestOperatorsCircuitIsLookedAtLessAndLessOften(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	r.must(r.board.OpenBy(r.ctx, bank, account, "ana", r.now()))
	r.follow(v)
	r.settled(func() bool { return r.look(v).Held })
	if got := v.Acquire(bank, account, 1).Wait; got != 20*time.Second {
		t.Errorf("at first the last waits %v", got)
	}
	r.pass(time.Hour)
	if got := v.Acquire(bank, account, 1).Wait; got != 10*time.Second+5*time.Minute {
		t.Errorf("after an hour the last waits %v", got)
	}
}

// A provider may refuse a single payment, which must not always be the one that
// probes for all the others.
func TestProbeThatFailedComesBackAmongTheOthers(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	first, err := v.Refused(r.ctx, bank, account, r.look(v), 0.5)
	r.must(err)
	if first != 5*time.Second {
		t.Errorf("who opens the circuit waits %v", first)
	}
	r.pass(first + time.Millisecond)
	again, err := v.Refused(r.ctx, bank, account, r.claim(v), 0.5)
	r.must(err)
	if again != 10*time.Second+5*time.Second {
		t.Errorf("who has probed in vain waits %v", again)
	}
}

func TestProbeThatProvesNothingKeepsTheCircuitOpen(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	r.refuse(v, r.look(v))
	r.pass(6 * time.Second)
	r.must(v.Unproven(r.ctx, r.claim(v)))
	if p := r.look(v); !p.Held {
		t.Error("the circuit is closed by no answer at all")
	}
	r.pass(6 * time.Second)
	r.claim(v)
}

func TestClaimOfADeadWorkerEnds(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	r.refuse(v, r.look(v))
	r.pass(6 * time.Second)
	lost := r.claim(v)
	other, _ := r.view()
	if !r.look(other).Held {
		t.Error("two probe at a time")
	}
	r.pass(21 * time.Second)
	r.must(other.Answered(r.ctx, r.claim(other)))
	// The dead one was only slow. Its word no longer counts.
	if wait := r.refuse(v, lost); wait <= 0 || r.recorded().State != record.CircuitClosed {
		t.Errorf("a claim that has ended opens the circuit again: %+v", r.recorded())
	}
}

func TestRefusalFromBeforeTheMendingOpensNothing(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	slow := r.look(v)
	r.refuse(v, r.look(v))
	r.pass(6 * time.Second)
	r.must(v.Answered(r.ctx, r.claim(v)))
	r.refuse(v, slow)
	if r.look(v).Held || r.recorded().State != record.CircuitClosed {
		t.Errorf("an old refusal made the record %+v", r.recorded())
	}
}

func TestOperatorsWordStandsUntilTakenBack(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	r.follow(v)
	r.must(r.board.OpenBy(r.ctx, bank, account, "ana", r.now()))
	r.must(r.board.OpenBy(r.ctx, bank, account, "ana", r.now()))
	r.settled(func() bool { return r.look(v).Held })
	r.pass(48 * time.Hour)
	if p := r.look(v); !p.Held || p.Cause != "operator" {
		t.Errorf("two days later the pass is %+v", p)
	}
	if c := r.recorded(); c.By != "ana" || c.State != record.CircuitOpen || c.NextProbe != nil {
		t.Errorf("record is %+v", c)
	}
	r.must(r.board.CloseBy(r.ctx, bank, account, "rui", r.now()))
	r.settled(func() bool { return !r.look(v).Held })
	if c := r.recorded(); c.By != "rui" || c.State != record.CircuitClosed {
		t.Errorf("record is %+v", c)
	}
}

func (r *rig) settled(done func() bool) {
	r.t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-r.ctx.Done():
			r.t.Fatal("it never came to be")
		}
	}
}

func TestOperatorOverrulesAProbe(t *testing.T) {
	t.Parallel()
	r := setup(t)
	v, _ := r.view()
	r.refuse(v, r.look(v))
	r.pass(6 * time.Second)
	p := r.claim(v)
	r.must(r.board.OpenBy(r.ctx, bank, account, "ana", r.now()))
	r.must(v.Answered(r.ctx, p))
	if c := r.recorded(); c.State != record.CircuitOpen || c.By != "ana" || !r.look(v).Held {
		t.Errorf("the probe overruled the operator: %+v", c)
	}
}
