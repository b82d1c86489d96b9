package breaker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
	"arauto/workers/internal/retry"
)

// skewed starts a worker whose machine's clock is off by as much.
func skewed(ctx context.Context, t *rapid.T, b *testbench.Broker, s *Store, name string, off time.Duration, running *sync.WaitGroup) *Cache {
	clock := retry.NewClock(b.JS, func() time.Time { return time.Now().Add(off) })
	testbench.Must(t, clock.Set(ctx))
	waits := Waits{First: 5 * time.Millisecond, Longest: 20 * time.Millisecond, Expiry: time.Minute}
	v, err := NewCache(ctx, s, Options{Waits: waits, Name: name, Now: clock.Now}, NewMetrics(prometheus.NewRegistry()), zap.NewNop())
	testbench.Must(t, err)
	running.Go(func() {
		if err := v.Run(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	return v
}

// Whatever workers with wrong clocks report in whatever order, the record follows the
// transition table, every worker takes it in, one of them probes, and a due probe is not
// late by a worker's clock.
func TestWorkersWithSkewedClocksAgree(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox")
	store, err := Open(b.Ctx, b.JS)
	b.Must(err)
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		ctx, end := context.WithCancel(b.Ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer end()
		runs++
		account := fmt.Sprint("a-", runs)
		if rapid.Bool().Draw(t, "host") {
			account = record.HostScope(account)
		}
		var workers []*Cache
		for i := range rapid.IntRange(2, 4).Draw(t, "workers") {
			off := time.Duration(rapid.IntRange(-2, 2).Draw(t, "hours off")) * time.Hour
			workers = append(workers, skewed(ctx, t, b, store, fmt.Sprint("w-", i), off, &running))
		}
		r := &reports{T: t, ctx: ctx, store: store, workers: workers, scope: workers[0].ofAccount("sandbox", account)}
		r.agree()
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			r.step()
		}
		testbench.Must(t, store.stream.Purge(ctx)) // Each worker of the next run reads what is stored.
	})
}

// reports are what workers report of one scope.
type reports struct {
	*rapid.T
	ctx     context.Context
	store   *Store
	workers []*Cache
	scope   scope
}

// stored is the record that counts.
func (r *reports) stored() entry {
	e, err := r.store.read(r.ctx, r.scope.provider, r.scope.account)
	testbench.Must(r, err)
	return e
}

// agree waits until every worker knows the record that counts, and its time.
func (r *reports) agree() {
	want := r.stored()
	for _, v := range r.workers {
		if !testbench.Poll(r.ctx, func() bool {
			e, _ := v.known(r.scope.key)
			return e.sequence == want.sequence && e.at.Equal(want.at)
		}) {
			r.Fatal("a worker does not know the record")
		}
	}
}

// step reports one event, and compares the record with what the transition table says.
func (r *reports) step() {
	before := r.stored()
	of := rapid.SampledFrom([]event{tripped, probed, probed, stopped, resumed}).Draw(r.T, "event")
	v := rapid.SampledFrom(r.workers).Draw(r.T, "worker")
	switch of {
	case stopped:
		testbench.Must(r, r.store.OpenBy(r.ctx, r.scope.provider, r.scope.account, "ana"))
	case resumed:
		testbench.Must(r, r.store.CloseBy(r.ctx, r.scope.provider, r.scope.account, "ana"))
	case tripped:
		_, err := v.fail(r.ctx, Permit{scope: r.scope, account: "acme", decidedBy: before})
		testbench.Must(r, err)
	default:
		r.probe(before)
		return
	}
	r.follows(before, of)
}

// follows checks the record after an event.
func (r *reports) follows(before entry, of event) {
	after := r.stored()
	want, changed := r.scope.waits.next(before.Circuit, of, "acme", 1)
	if changed != (after.sequence > before.sequence) || changed && (after.State != want.State || after.Wait != want.Wait || after.Probes != want.Probes) {
		r.Fatalf("event %d made %+v of %+v, want %+v", of, after.Circuit, before.Circuit, want)
	}
	r.agree()
}

// probe lets all workers try the probe that is due, and one of them report its result.
func (r *reports) probe(before entry) {
	permits := make([]Permit, len(r.workers))
	if before.open() && before.Cause != causeOperator {
		for i, v := range r.workers {
			if !testbench.Poll(r.ctx, func() bool { permits[i] = v.acquire(r.scope, "acme"); return permits[i].probe }) {
				r.Fatal("no probe is due before the test ends, although it is within 20 ms")
			}
		}
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	var probing []int
	for i, v := range r.workers {
		all.Go(func() {
			p, err := v.AcquireProbe(r.ctx, permits[i])
			mu.Lock()
			defer mu.Unlock()
			if permits[i] = p; err == nil && p.probe {
				probing = append(probing, i)
			}
		})
	}
	all.Wait()
	if len(probing) == 0 {
		r.follows(before, probed)
		return
	}
	if len(probing) > 1 {
		r.Fatalf("%d workers probe", len(probing))
	}
	r.follows(before, probed)
	half, v, p := r.stored(), r.workers[probing[0]], permits[probing[0]]
	for _, other := range r.workers {
		if !other.acquire(r.scope, "acme").Denied {
			r.Fatal("another worker may look up while one probes")
		}
	}
	of := rapid.SampledFrom([]event{answered, failed, unproven}).Draw(r.T, "result")
	if of == failed {
		_, err := v.fail(r.ctx, p)
		testbench.Must(r, err)
	} else {
		testbench.Must(r, v.finish(r.ctx, p, of))
	}
	r.follows(half, of)
}
