package breaker_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
	"arauto/workers/internal/breaker"
)

const apiHost = "api.test:443"

// fleet is a broker, a clock that the test sets, and what two workers know of it. Circuits
// open after three failures within ten seconds.
type fleet struct {
	*testbench.Broker
	clock *testbench.Clock
	a, b  *worker
}

// worker is one worker's circuit breakers of a provider's hosts.
type worker struct {
	*breaker.Outage
	f        *fleet
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
}

// newFleet has the two accounts default and acme at one host, or the given accounts at theirs.
func newFleet(t *testing.T, hosts map[string]string) *fleet {
	t.Helper()
	f := &fleet{Broker: testbench.Start(t, bank), clock: testbench.NewClock(time.Now())}
	f.a, f.b = f.worker("a", hosts), f.worker("b", hosts)
	return f
}

var (
	one       = map[string]string{"default": apiHost}
	two       = map[string]string{"default": apiHost, "acme": apiHost}
	elsewhere = map[string]string{"default": apiHost, "acme": "other.test:443"}
)

// worker follows the changes of the others.
func (f *fleet) worker(name string, hosts map[string]string) *worker {
	f.T.Helper()
	store, err := breaker.Open(f.Ctx, f.JS)
	f.Must(err)
	log, logs := testbench.Logs(zap.InfoLevel)
	w := &worker{f: f, registry: prometheus.NewRegistry(), logs: logs}
	cache, err := breaker.NewCache(f.Ctx, store, breaker.Options{Name: name, Now: f.clock.Now}, breaker.NewMetrics(w.registry), log)
	f.Must(err)
	w.Outage = breaker.NewOutage(cache, bank, hosts, breaker.OutageOptions{
		Waits:    breaker.Waits{First: 10 * time.Minute, Longest: 35 * time.Minute, Expiry: 100 * time.Hour},
		Failures: 3, Window: 10 * time.Second,
	})
	f.Go("follow", cache.Run)
	return w
}

func (w *worker) acquire(account string) breaker.HostPermit {
	w.f.T.Helper()
	p, ok := w.Acquire(account)
	if ok {
		var err error
		p, ok, err = w.AcquireProbe(w.f.Ctx, p)
		w.f.Must(err)
	}
	if !ok {
		w.f.T.Fatal("a look-up is denied")
	}
	return p
}

func (w *worker) fail(account string, times int) {
	w.f.T.Helper()
	for range times {
		w.f.Must(w.Failed(w.f.Ctx, w.acquire(account)))
	}
}

func (w *worker) answer(account string) {
	w.f.T.Helper()
	w.f.Must(w.Answered(w.f.Ctx, w.acquire(account)))
}

// denied reports whether an account's look-ups are denied.
func (w *worker) denied(account string) bool {
	w.f.T.Helper()
	p, ok := w.Acquire(account)
	if ok {
		w.f.Must(w.Release(w.f.Ctx, p))
	}
	return !ok
}

func (w *worker) gauge() float64 {
	w.f.T.Helper()
	return testbench.Value(w.f.T, w.registry, "arauto_provider_paused")
}

// record is the record of the host, and its state.
func (f *fleet) record() record.Circuit {
	f.T.Helper()
	store, err := breaker.Open(f.Ctx, f.JS)
	f.Must(err)
	all, err := store.List(f.Ctx)
	f.Must(err)
	for _, c := range all {
		if c.Provider == bank && c.Account == record.HostScope(apiHost) {
			return c
		}
	}
	return record.Circuit{State: record.CircuitClosed}
}

// agree waits until both workers know the host's record.
func (f *fleet) agree(denied bool) {
	f.T.Helper()
	f.Until("the workers agree", func() bool { return f.a.denied("default") == denied && f.b.denied("default") == denied })
}

func TestFailuresStopEveryWorkerWithinASecond(t *testing.T) {
	t.Parallel()
	f := newFleet(t, one)
	f.Must(f.a.Failed(f.Ctx, f.a.acquire("default")))
	f.a.fail("default", 1)
	if f.a.denied("default") || f.record().State != record.CircuitClosed {
		t.Fatal("two failures open the circuit")
	}
	f.a.fail("default", 1)
	began := time.Now()
	f.agree(true)
	if took := time.Since(began); took > time.Second {
		t.Errorf("the other worker stopped after %v", took)
	}
	if c := f.record(); c.State != record.CircuitOpen || c.Cause != "outage" || c.Wait != 10*time.Minute || c.By != "a" {
		t.Errorf("the record is %+v", c)
	}
	if f.a.Room(8) != 0 || f.b.Room(8) != 0 || f.a.gauge() != 1 || f.b.gauge() != 1 {
		t.Errorf("they pull %d and %d messages, and the metrics say %v and %v", f.a.Room(8), f.b.Room(8), f.a.gauge(), f.b.gauge())
	}
	if _, waits := f.a.Defer(breaker.HostPermit{}, 0); waits {
		t.Error("a look-up is scheduled although the circuit of every host is open")
	}
}

func TestAnswerOrTimeBetweenFailuresEndsTheStreak(t *testing.T) {
	t.Parallel()
	f := newFleet(t, one)
	for range 5 {
		f.a.fail("default", 2)
		f.a.answer("default")
	}
	for range 5 {
		f.a.fail("default", 2)
		f.clock.Advance(11 * time.Second)
	}
	if f.a.denied("default") {
		t.Error("the circuit is open")
	}
}

func TestFailedProbesOfAHostDoubleTheWait(t *testing.T) {
	t.Parallel()
	f := newFleet(t, one)
	f.a.fail("default", 3)
	for _, want := range []time.Duration{20, 35, 35} {
		f.clock.Advance(36 * time.Minute)
		f.Until("one may probe", func() bool { return f.a.Room(8) == 1 && f.b.Room(8) == 1 })
		probe := f.b.acquire("default")
		if p, ok, err := f.a.AcquireProbe(f.Ctx, f.a.asked("default")); ok || err != nil {
			t.Fatalf("two probe at a time: %+v, %v", p, err)
		}
		f.Must(f.b.Failed(f.Ctx, probe))
		if c := f.record(); c.State != record.CircuitOpen || c.Wait != want*time.Minute {
			t.Errorf("a failed probe leaves %+v, want a wait of %d min", c, want)
		}
	}
}

// asked is a permit of a look-up that has not begun to probe.
func (w *worker) asked(account string) breaker.HostPermit {
	p, _ := w.Acquire(account)
	return p
}

func TestAnsweredProbeClosesTheHostsCircuit(t *testing.T) {
	t.Parallel()
	f := newFleet(t, one)
	late := f.a.acquire("default") // Acquired before the outage, and answered during it.
	f.a.fail("default", 3)
	f.Must(f.a.Answered(f.Ctx, late))
	if c := f.record(); c.State != record.CircuitOpen {
		t.Errorf("an answer from before leaves %+v", c)
	}
	f.agree(true)
	f.clock.Advance(11 * time.Minute)
	f.a.answer("default")
	f.agree(false)
	f.a.acquire("default")
	f.a.acquire("default") // More than one at a time again.
	f.a.fail("default", 2)
	if f.a.denied("default") {
		t.Error("failures from before the answer count")
	}
}

// An account that fails beside an answered one has a fault of its own.
func TestFailingAccountBesideAnAnsweredOneStopsNoOther(t *testing.T) {
	t.Parallel()
	f := newFleet(t, two)
	for range 5 {
		f.a.answer("acme")
		f.a.fail("default", 5)
		f.clock.Advance(9 * time.Second)
		f.a.fail("default", 5)
	}
	if f.a.denied("default") || f.a.gauge() != 0 {
		t.Fatalf("one of two accounts stops both, and the metric says %v", f.a.gauge())
	}
	f.a.fail("acme", 1)
	if !f.a.denied("acme") || f.a.gauge() != 1 {
		t.Errorf("with the other account it goes on, and the metric says %v", f.a.gauge())
	}
}

// An account without look-ups does not show whether the provider answers.
func TestFailingAccountBesideAnIdleOneStopsBoth(t *testing.T) {
	t.Parallel()
	f := newFleet(t, two)
	f.a.answer("acme")
	f.clock.Advance(11 * time.Second)
	f.a.fail("default", 3)
	if !f.a.denied("acme") || f.a.gauge() != 1 {
		t.Fatalf("the metric says %v", f.a.gauge())
	}
	f.clock.Advance(11 * time.Minute)
	f.a.fail("default", 1)
	f.a.answer("acme")
	if f.a.denied("default") || f.a.gauge() != 0 {
		t.Fatalf("after the other one's answer the metric says %v", f.a.gauge())
	}
	for range 3 {
		f.a.fail("default", 10)
		f.clock.Advance(9 * time.Second)
		f.a.answer("acme")
	}
	f.a.fail("default", 10)
	if f.a.denied("default") || f.a.denied("acme") {
		t.Error("while the other one is answered the circuit opens again")
	}
}

func TestOtherAccountProbesAfterAFailedProbe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		other func(w *worker)
		want  time.Duration // 0 for a closed circuit.
	}{
		"which is answered": {func(w *worker) { w.answer("acme") }, 0},
		"which fails too":   {func(w *worker) { w.fail("acme", 1) }, 20 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, two)
			f.a.fail("default", 3)
			f.clock.Advance(11 * time.Minute)
			f.a.fail("default", 1)
			if !f.a.denied("default") {
				t.Error("the account whose probe failed probes again at once")
			}
			c.other(f.a)
			if got := f.record(); got.Wait != c.want || f.a.denied("acme") != (c.want > 0) {
				t.Errorf("the record is %+v, want a wait of %v", got, c.want)
			}
		})
	}
}

func TestFailedProbeClosesTheCircuitIfAnotherAccountIsAnswered(t *testing.T) {
	t.Parallel()
	f := newFleet(t, two)
	late := f.a.acquire("acme") // Acquired before the outage, which its answer alone does not end.
	f.a.fail("default", 3)
	f.clock.Advance(11 * time.Minute)
	f.Must(f.a.Answered(f.Ctx, late))
	if f.a.gauge() != 1 {
		t.Fatal("an answer from before closes the circuit")
	}
	f.a.fail("default", 1)
	if f.a.denied("default") || f.a.denied("acme") || f.a.gauge() != 0 {
		t.Errorf("it goes on, and the metric says %v", f.a.gauge())
	}
	f.a.fail("default", 10)
	if f.a.denied("default") {
		t.Error("the account that fails alone opens the circuit again")
	}
}

func TestReleasedProbeIsAllowedAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, one)
	f.a.fail("default", 3)
	f.clock.Advance(11 * time.Minute)
	f.Must(f.a.Release(f.Ctx, f.a.acquire("default")))
	f.clock.Advance(11 * time.Minute)
	f.a.acquire("default")
}

func TestWorkerStopsWithoutBroker(t *testing.T) {
	t.Parallel()
	f := newFleet(t, one)
	f.Stop()
	ctx, cancel := context.WithTimeout(f.Ctx, 100*time.Millisecond)
	defer cancel()
	for range 3 {
		if err := f.a.Failed(ctx, f.a.acquire("default")); err != nil {
			t.Log(err)
		}
	}
	if !f.a.denied("default") {
		t.Error("without a broker the worker goes on")
	}
}

func TestOnePaymentsFailuresDoNotStopOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, one)
	for range 10 {
		f.Must(f.a.Failed(f.Ctx, f.a.acquire("default").About("p-1")))
	}
	if f.a.denied("default") {
		t.Error("one payment stopped the others")
	}
	for _, payment := range []string{"p-2", "p-3"} {
		f.Must(f.a.Failed(f.Ctx, f.a.acquire("default").About(payment)))
	}
	if !f.a.denied("default") {
		t.Error("three payments did not")
	}
}

// Worker a gets no answer, and worker b does, in flight when a opened the circuit.
func TestWorkerThatFailsAloneStopsAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, one)
	flying := f.b.acquire("default")
	f.a.fail("default", 3)
	f.agree(true)
	f.Must(f.b.Answered(f.Ctx, flying))
	f.Until("worker b goes on and a does not", func() bool {
		return f.a.Room(8) == 0 && f.b.Room(8) == 8 && f.a.denied("default") && !f.b.denied("default") &&
			f.a.logs.FilterMessage("outage.limited_to_worker").Len() == 1
	})
	if f.a.gauge() != 1 || f.b.gauge() != 0 || f.record().State != record.CircuitClosed {
		t.Errorf("the metrics say %v and %v, the record is %+v", f.a.gauge(), f.b.gauge(), f.record())
	}
	before := f.record()
	for range 2 {
		f.clock.Advance(36 * time.Minute)
		if got := f.a.Room(8); got != 1 {
			t.Errorf("it pulls %d messages for one probe", got)
		}
		f.a.fail("default", 1)
		if !f.a.denied("default") || f.b.denied("default") {
			t.Error("its failed probe stops the other, or not itself")
		}
	}
	if after := f.record(); !after.Since.Equal(before.Since) {
		t.Errorf("its probes wrote %+v", after)
	}
	f.clock.Advance(36 * time.Minute)
	f.a.answer("default")
	if f.a.denied("default") || f.a.Room(8) != 8 || f.a.gauge() != 0 {
		t.Error("after an answer it does not go on")
	}
}

// If the host is down for the other worker too, the worker that opened the circuit first has
// none of its own.
func TestOutageForAllIsNoFaultOfOneWorker(t *testing.T) {
	t.Parallel()
	f := newFleet(t, one)
	f.a.fail("default", 3)
	f.agree(true)
	f.clock.Advance(11 * time.Minute)
	f.b.fail("default", 1)
	f.Until("worker a knows that b fails too", func() bool {
		last := f.a.logs.All()[f.a.logs.Len()-1].ContextMap()
		return last["by"] == "b" && last["state"] == "open"
	})
	f.a.denied("default")
	f.clock.Advance(36 * time.Minute)
	f.b.answer("default")
	f.agree(false)
}

func TestHostOfAnotherAccountIsNotStopped(t *testing.T) {
	t.Parallel()
	f := newFleet(t, elsewhere)
	f.a.fail("default", 3)
	if !f.a.denied("default") || f.a.denied("acme") || f.a.Room(8) != 8 {
		t.Errorf("it pulls %d messages", f.a.Room(8))
	}
	p, _ := f.a.Acquire("default")
	if wait, ok := f.a.Defer(p, 0); !ok || wait.Round(time.Minute) != 10*time.Minute {
		t.Errorf("what is pulled all the same waits %v", wait)
	}
}

// Every second probe asks about the control payment.
func TestEverySecondProbeUsesTheControlPayment(t *testing.T) {
	t.Parallel()
	f := newFleet(t, one)
	if f.a.acquire("default").Control() {
		t.Error("a look-up that is no probe asks for it")
	}
	f.a.fail("default", 3)
	for _, want := range []bool{true, false, true} {
		f.clock.Advance(36 * time.Minute)
		p := f.a.acquire("default")
		if p.Control() != want {
			t.Errorf("a probe asks for it: %v, want %v", p.Control(), want)
		}
		f.Must(f.a.Failed(f.Ctx, p))
	}
}

// Accounts come, go and move to another host while a circuit is open.
func TestHostsAreReplacedWhileACircuitIsOpen(t *testing.T) {
	t.Parallel()
	f := newFleet(t, two)
	for i := range 3 {
		p, ok := f.a.Acquire("default")
		if !ok {
			t.Fatal("a closed circuit denies a look-up")
		}
		f.Must(f.a.Failed(f.Ctx, p.About(string(rune('a'+i)))))
	}
	if _, ok := f.a.Acquire("acme"); ok {
		t.Fatal("the circuit is not open")
	}
	f.a.SetHosts(map[string]string{"default": apiHost, "acme": "other.test:443", "new": apiHost})
	for account, want := range map[string]bool{"default": false, "acme": true, "new": false, "unknown": true} {
		p, ok := f.a.Acquire(account)
		if ok != want {
			t.Errorf("a look-up of %s is allowed: %v, want %v", account, ok, want)
		}
		if ok {
			f.Must(f.a.Release(f.Ctx, p))
		}
	}
	f.a.SetHosts(map[string]string{"acme": "other.test:443"})
	if _, there := testbench.Metric(t, f.a.registry, "arauto_provider_paused", bank, apiHost); there {
		t.Error("a host without an account is still said to be paused")
	}
	if f.a.Room(8) != 8 {
		t.Error("the circuit of a host without an account keeps others from being looked up")
	}
}
