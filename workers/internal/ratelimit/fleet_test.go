package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"arauto/deploy/runtime/testbench"
)

// world is a broker and the workers of a fleet, on a clock that only the test moves.
type world struct {
	*rapid.T
	clock   *testbench.Clock
	began   time.Time
	limit   Limit
	log     []storedLease // Every lease that was stored, in order.
	workers []*worker
	most    int     // The largest number of workers at a time.
	asked   int     // Look-ups that have begun.
	least   float64 // The least by which they were above the rate, at any time.
	depth   int
}

// worker is a worker of the fleet, and its connection to the broker.
type worker struct {
	*Fleet
	world     *world
	limiter   *Limiter
	delivered int // How many of world.log have been repeated to it.
	busy      bool
	cut       bool // Nothing reaches the broker.
}

func (w *worker) store(_ context.Context, name string, l lease) error {
	w.world.meanwhile()
	if rapid.IntRange(0, 9).Draw(w.world.T, "request lost") == 0 {
		return errors.New("the request was lost")
	}
	w.world.log = append(w.world.log, storedLease{lease: l, name: name, sequence: uint64(len(w.world.log) + 1), at: w.world.clock.Now()})
	w.world.meanwhile()
	if rapid.IntRange(0, 9).Draw(w.world.T, "answer lost") == 0 {
		return errors.New("the answer was lost")
	}
	return nil
}

func (w *worker) read(context.Context) ([]storedLease, error) {
	w.world.meanwhile()
	last := map[string]storedLease{}
	for _, l := range w.world.log {
		last[l.name] = l
	}
	var all []storedLease
	for _, l := range w.world.log {
		if last[l.name].sequence == l.sequence {
			all = append(all, l)
		}
	}
	w.world.meanwhile()
	return all, nil
}

// meanwhile lets time pass and other workers act while a request is under way.
func (w *world) meanwhile() {
	if w.depth++; w.depth < 3 {
		longest := 1
		if rapid.IntRange(0, 9).Draw(w.T, "hangs") == 0 {
			longest = 15
		}
		for range rapid.IntRange(0, longest).Draw(w.T, "meanwhile") {
			w.step()
		}
	}
	w.depth--
}

// pick is any worker that is not waiting for a request, nil for none.
func (w *world) pick() *worker {
	var idle []*worker
	for _, one := range w.workers {
		if !one.busy && !one.cut {
			idle = append(idle, one)
		}
	}
	if len(idle) == 0 {
		return nil
	}
	return idle[rapid.IntRange(0, len(idle)-1).Draw(w.T, "worker")]
}

func (w *world) start() {
	one := &worker{world: w, delivered: len(w.log)}
	one.Fleet = newFleet(one, []string{"sandbox"}, zap.NewNop(), w.clock.Now)
	one.limiter = one.Limiter("sandbox", w.limit)
	w.workers = append(w.workers, one)
	w.most = max(w.most, len(w.workers))
	one.work(func() { one.renewed() })
}

// work keeps others from using a worker that waits for a request.
func (w *worker) work(what func()) {
	w.busy = true
	defer func() { w.busy = false }()
	what()
}

func (w *worker) renewed() { _ = w.renew(w.world.Context()) } // A lost request is no failure of the test.

// step is anything that may happen.
func (w *world) step() {
	what := rapid.IntRange(0, 10).Draw(w.T, "step")
	if what == 0 {
		one := w.workers[rapid.IntRange(0, len(w.workers)-1).Draw(w.T, "cut")]
		one.cut = !one.cut && rapid.Bool().Draw(w.T, "off")
	}
	one := w.pick()
	switch {
	case what <= 2:
		w.clock.Advance(time.Duration(rapid.IntRange(1, 1500).Draw(w.T, "ms")) * time.Millisecond)
		w.ask()
	case what == 3 && len(w.workers) < 4:
		w.start()
	case one == nil:
	case what == 4 && len(w.workers) > 1 && w.depth == 0 && rapid.IntRange(0, 3).Draw(w.T, "leaves") == 0:
		for i, each := range w.workers {
			if each == one {
				w.workers = append(w.workers[:i:i], w.workers[i+1:]...)
			}
		}
		if rapid.Bool().Draw(w.T, "orderly") { // Else it is killed.
			one.work(func() { one.end(w.Context()) })
		}
	case what == 5:
		one.delivered = len(w.log) // It was disconnected while these were repeated.
	case what <= 8:
		one.work(func() { one.renewed(); one.listen() })
	default:
		one.work(func() { one.listen() })
	}
}

// listen takes in what was repeated, and renews where Run does.
func (w *worker) listen() {
	for w.delivered < len(w.world.log) {
		l := w.world.log[w.delivered]
		w.delivered++
		if w.take(l) {
			w.renewed()
		}
	}
}

// ask begins as many look-ups as the limiters allow, also in workers whose renewal has no
// answer yet, and compares their number with the limit since any earlier moment.
func (w *world) ask() {
	for _, one := range w.workers {
		for range 1000 {
			if _, ok := one.limiter.AllowQueued(Known); !ok {
				break
			}
			one.limiter.Release()
			w.asked++
		}
	}
	above := float64(w.asked) - float64(w.limit.Rate)*w.clock.Now().Sub(w.began).Seconds()
	most := float64(w.limit.Burst+w.limit.Rate) + float64(max(w.most-w.limit.Burst, 0))
	if above-w.least > most+1e-6 {
		w.Fatalf("%.1f look-ups more than the rate of %+v began, at most %.0f may", above-w.least, w.limit, most)
	}
	w.least = min(w.least, above)
}

// Whatever workers join, stall, are killed or lose messages, together they never look up
// more than the limit allows to one.
func TestFleetKeepsTheLimitOfOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clock := testbench.NewClock(time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC))
		w := &world{T: t, clock: clock, began: clock.Now(), limit: Limit{
			Rate: rapid.IntRange(1, 100).Draw(t, "rate"), Burst: rapid.IntRange(1, 10).Draw(t, "burst"), Concurrency: 1,
		}}
		w.start()
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			w.step()
		}
	})
}

// A worker alone has the whole rate and burst, and a fleet has as much together, however
// little each one's share is.
func TestFleetUsesTheWholeRate(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 4; n++ {
		for _, limit := range []Limit{{Rate: 200, Burst: 400, Concurrency: 32}, {Rate: 1, Burst: 1, Concurrency: 1}} {
			t.Run(fmt.Sprint(n, limit), func(t *testing.T) {
				t.Parallel()
				clock := testbench.NewClock(time.Now())
				var log []storedLease
				var fleets []*Fleet
				var limiters []*Limiter
				for range n {
					f := newFleet(&reliable{log: &log, clock: clock}, []string{"sandbox"}, zap.NewNop(), clock.Now)
					fleets, limiters = append(fleets, f), append(limiters, f.Limiter("sandbox", limit))
				}
				begun := make([]int, n)
				total := func() (all int) {
					for i, l := range limiters {
						for l.inFlight == 0 {
							if _, ok := l.AllowQueued(Known); !ok {
								break
							}
							l.Release()
							begun[i]++
						}
						all += begun[i]
					}
					return all
				}
				const seconds = 60
				for tick := range seconds * 10 {
					if tick%10 == 0 {
						for _, f := range fleets {
							testbench.Must(t, f.renew(t.Context()))
							for _, l := range log {
								for _, other := range fleets {
									other.take(l)
								}
							}
						}
					}
					total()
					clock.Advance(100 * time.Millisecond)
				}
				all := total()
				if least := limit.Rate * (seconds - 8); all < least {
					t.Errorf("%d look-ups in %d s, want %d", all, seconds, least)
				}
				for i, got := range begun {
					if got < limit.Rate*(seconds-8)/n-1 {
						t.Errorf("worker %d of %d made %d of %d", i, n, got, all)
					}
				}
			})
		}
	}
}

// reliable is a broker that loses nothing.
type reliable struct {
	log   *[]storedLease
	clock *testbench.Clock
}

func (r *reliable) store(_ context.Context, name string, l lease) error {
	*r.log = append(*r.log, storedLease{lease: l, name: name, sequence: uint64(len(*r.log) + 1), at: r.clock.Now()})
	return nil
}

func (r *reliable) read(context.Context) ([]storedLease, error) {
	var all []storedLease
	for i, l := range *r.log {
		last := true
		for _, later := range (*r.log)[i+1:] {
			last = last && later.name != l.name
		}
		if last {
			all = append(all, l)
		}
	}
	return all, nil
}
