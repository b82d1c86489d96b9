package lookup_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/breaker"
	"arauto/workers/internal/hold"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
	"arauto/workers/lookup"
)

// farOff is a due time that no test reaches.
const farOff = 30 * time.Minute

// waiting schedules look-ups p-0 to p-<n-1> of an account that wait for its circuit.
func (r *rig) waiting(account string, n int, cause record.Failure) {
	r.T.Helper()
	for i := range n {
		payment := fmt.Sprintf("p-%d", i)
		r.Must(r.retries.Schedule(r.Ctx, retry.Deferred, record.ScheduledLookUp{
			Provider: "sandbox", Account: account, Kind: order.Payment, Payment: payment, Covers: r.told(account, payment).Sequence,
			Cause: order.CauseNotification, Reason: string(cause), DueAt: time.Now().Add(farOff).UTC(),
		}))
	}
}

// closed opens and closes a circuit by an operator's word.
func (r *rig) closed(scope string) *breaker.Store {
	r.T.Helper()
	circuits, err := breaker.Open(r.Ctx, r.JS)
	r.Must(err)
	r.Must(circuits.OpenBy(r.Ctx, "sandbox", scope, "a test"))
	r.Must(circuits.CloseBy(r.Ctx, "sandbox", scope, "a test"))
	return circuits
}

// broughtForward lists the due times of the account's look-ups that are not far off, in the
// order of the stream, delivered ones included.
func (r *rig) broughtForward(account string) (all []time.Time) {
	r.T.Helper()
	limit := time.Now().Add(farOff / 2)
	for _, p := range testbench.Documents[record.ScheduledLookUp](r.Bench, subject.LookupRetries, "lookup.*.sandbox."+account+".*") {
		if p.DueAt.Before(limit) {
			all = append(all, p.DueAt)
		}
	}
	return all
}

func TestLookUpsAreMadeSoonAfterTheirCircuitHasClosed(t *testing.T) {
	t.Parallel()
	host := record.HostScope("sandbox.test")
	for name, c := range map[string]struct {
		scope string
		open  func(r *rig, circuits *breaker.Store)
		shut  func(r *rig, circuits *breaker.Store)
	}{
		"an account's, by an operator": {
			open: func(r *rig, circuits *breaker.Store) { r.Must(circuits.OpenBy(r.Ctx, "sandbox", "acme", "a test")) },
			shut: func(r *rig, circuits *breaker.Store) { r.Must(circuits.CloseBy(r.Ctx, "sandbox", "acme", "a test")) },
		},
		"a host's, by an operator": {
			open: func(r *rig, circuits *breaker.Store) { r.Must(circuits.OpenBy(r.Ctx, "sandbox", host, "a test")) },
			shut: func(r *rig, circuits *breaker.Store) { r.Must(circuits.CloseBy(r.Ctx, "sandbox", host, "a test")) },
		},
		"an account's, by a probe": {
			open: func(r *rig, _ *breaker.Store) {
				r.fails(http.StatusUnauthorized)
				r.Must(r.limited(plenty).HandleNotification(r.Ctx, r.told("acme", "the probe")))
			},
			shut: func(r *rig, _ *breaker.Store) { r.says("refunded", 10000, 10000) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.says("refunded", 10000, 10000)
			circuits, err := breaker.Open(r.Ctx, r.JS)
			r.Must(err)
			c.open(r, circuits)
			const payments = 500
			r.waiting("acme", payments, record.Stopped)
			before := r.Stream(subject.LookupRetries).CachedInfo().State.LastSeq
			for range 3 {
				w := r.limited(plenty)
				resume := &lookup.Resume{Worker: w, Circuits: circuits}
				r.run(w)
				r.Go("resume", resume.Run)
			}
			c.shut(r, circuits)
			r.Until("all are answered", func() bool { return r.answeredOf("acme") == payments })
			// Of each look-up two messages are stored: the earlier schedule, and the due one. The
			// probe and a second worker in the same round store some more.
			if got := r.Stream(subject.LookupRetries).CachedInfo().State.LastSeq - before; got > 2*payments+payments/4 {
				t.Errorf("%d messages for %d look-ups", got, payments)
			}
		})
	}
}

// answeredOf is how many of the payments that waited have an observation.
func (r *rig) answeredOf(account string) (n int) {
	r.T.Helper()
	info, err := r.Stream(subject.Statuses).Info(r.Ctx, jetstream.WithSubjectFilter("statuses.sandbox."+account+".*"))
	r.Must(err)
	for on := range info.State.Subjects {
		if strings.Contains(on, ".p-") {
			n++
		}
	}
	return n
}

func TestResumptionKeepsThePaceOfTheAccount(t *testing.T) {
	t.Parallel()
	for rate, most := range map[int]int{1: 1, 7: 7, 100: 100, 1000: 200} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.waiting("default", most+20, record.Credential)
			circuits := r.closed("default")
			w := r.limited(ratelimit.Limit{Rate: rate, Burst: 1000, Concurrency: 16})
			clock := testbench.NewClock(time.Now().Add(time.Minute)) // The broker delivers nothing meanwhile.
			began := clock.Now()
			w.Now = func() time.Time { return began }
			resume := &lookup.Resume{Worker: w, Circuits: circuits}
			resume.Round(r.Ctx)
			due := r.broughtForward("default")
			if len(due) != most {
				t.Fatalf("%d are due within the next second, want %d", len(due), most)
			}
			slices.SortFunc(due, time.Time.Compare)
			for i, at := range due {
				if want := began.Add(time.Duration(i+1) * (time.Second / time.Duration(most))); !at.Equal(want) {
					t.Fatalf("number %d is due after %v, want %v", i, at.Sub(began), want.Sub(began))
				}
			}
			for i := range most + 20 {
				if moved := r.parked(fmt.Sprintf("p-%d", i)).Parked.DueAt.Before(began.Add(time.Hour / 4)); moved != (i < most) {
					t.Fatalf("p-%d was brought forward: %v, want the %d oldest", i, moved, most)
				}
			}
			resume.Round(r.Ctx)
			if again := len(r.broughtForward("default")); again != most {
				t.Errorf("in the same second %d more were brought forward", again-most)
			}
		})
	}
}

// What waits for another reason keeps its due time, and so does what is due soon.
func TestResumptionLeavesOtherLookUpsAlone(t *testing.T) {
	t.Parallel()
	r := setup(t)
	circuits := r.closed("default")
	far := r.farRetry("retry", r.told("default", "retry").Sequence)
	r.waiting("acme", 1, record.Stopped)
	w := r.limited(plenty)
	(&lookup.Resume{Worker: w, Circuits: circuits}).Round(r.Ctx)
	if got := r.parked("retry").Parked; !got.DueAt.Equal(far.DueAt) || got.Expedited {
		t.Errorf("a retry became %+v", got)
	}
	if got := r.broughtForward("acme"); len(got) != 0 {
		t.Errorf("another account's was brought forward to %v", got)
	}
}

// What the streams say of each other stays as it is while they are copied.
func TestResumptionRestsDuringAHold(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.waiting("default", 3, record.Stopped)
	circuits := r.closed("default")
	consumer, err := r.JS.Consumer(r.Ctx, subject.LookupRetries, subject.LookupDueConsumer("sandbox"))
	r.Must(err)
	resume := &lookup.Resume{Worker: r.limited(plenty), Circuits: circuits, Within: hold.NewGate(consumer).Round}
	written := func() uint64 {
		return r.Stream(subject.LookupRetries).CachedInfo().State.LastSeq + r.Stream(subject.Circuits).CachedInfo().State.LastSeq
	}
	_, err = r.JS.PauseConsumer(r.Ctx, subject.LookupRetries, subject.LookupDueConsumer("sandbox"), time.Now().Add(time.Hour))
	r.Must(err)
	before := written()
	resume.Round(r.Ctx)
	if after := written(); after != before {
		t.Fatalf("%d messages were written during the hold", after-before)
	}
	_, err = r.JS.ResumeConsumer(r.Ctx, subject.LookupRetries, subject.LookupDueConsumer("sandbox"))
	r.Must(err)
	resume.Round(r.Ctx)
	if got := r.broughtForward("default"); len(got) != 3 {
		t.Errorf("after the hold %d were brought forward, want 3", len(got))
	}
}

// A queue for the rate limit must not grow because of what is brought forward.
func TestResumptionWaitsWhileTheRateLimitQueues(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.waiting("default", 3, record.Stopped)
	circuits := r.closed("default")
	limit := ratelimit.Limit{Rate: 1, Burst: 1, Concurrency: 1}
	w := r.limited(limit)
	now := time.Now()
	w.Rates["default"] = ratelimit.New(limit, func() time.Time { return now })
	for range 3 {
		w.Rates["default"].Allow(ratelimit.Known)
	}
	resume := &lookup.Resume{Worker: w, Circuits: circuits}
	resume.Round(r.Ctx)
	if got := r.broughtForward("default"); len(got) != 0 {
		t.Fatalf("%d were brought forward", len(got))
	}
	now = now.Add(2 * time.Second)
	resume.Round(r.Ctx)
	if got := r.broughtForward("default"); len(got) != 1 {
		t.Errorf("%d were brought forward when the queue was short, want 1", len(got))
	}
}

func TestCircuitThatOpensAgainStopsTheResumption(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.waiting("default", 5, record.Stopped)
	circuits := r.closed("default")
	w := r.limited(ratelimit.Limit{Rate: 1, Burst: 100, Concurrency: 16})
	clock := testbench.NewClock(time.Now())
	w.Now = clock.Now
	r.Go("circuits", w.Circuits.Run)
	resume := &lookup.Resume{Worker: w, Circuits: circuits}
	open := func() bool { _, closed := w.Outage.Closing("default"); return !closed }
	rounds := func(want int) {
		t.Helper()
		clock.Advance(time.Minute)
		resume.Round(r.Ctx)
		if got := len(r.broughtForward("default")); got != want {
			t.Fatalf("%d were brought forward, want %d", got, want)
		}
	}
	rounds(1)
	r.Must(circuits.OpenBy(r.Ctx, "sandbox", "default", "a test"))
	r.Until("the worker knows of it", open)
	rounds(1)
	r.Must(circuits.CloseBy(r.Ctx, "sandbox", "default", "a test"))
	r.Until("the worker knows of it", func() bool { return !open() })
	rounds(2)
	rounds(3)
}

// A worker that is killed, or whose broker fails in the middle of a round, loses no look-up,
// and another one goes on, but not at the same time.
func TestAnotherWorkerGoesOnWithAResumption(t *testing.T) {
	t.Parallel()
	r := setup(t)
	const payments = 60
	r.waiting("default", payments, record.Stopped)
	circuits := r.closed("default")
	limit := ratelimit.Limit{Rate: 20, Burst: 100, Concurrency: 16}
	clock := testbench.NewClock(time.Now())
	first, second := r.limited(limit), r.limited(limit)
	first.Now, second.Now = clock.Now, clock.Now
	ctx, kill := context.WithCancel(r.Ctx)
	defer kill()
	writes := &countdown{JetStream: r.JS, end: kill}
	writes.left.Store(7)
	var err error
	first.Retries, err = retry.Open(r.Ctx, writes, r.Tokens)
	r.Must(err)
	(&lookup.Resume{Worker: first, Circuits: circuits}).Round(ctx)
	moved := len(r.broughtForward("default"))
	if moved == 0 || moved >= 20 {
		t.Fatalf("%d were brought forward before the end of the worker", moved)
	}
	other := &lookup.Resume{Worker: second, Circuits: circuits}
	other.Round(r.Ctx)
	if got := len(r.broughtForward("default")); got != moved {
		t.Fatalf("another worker brought %d forward at the same time", got-moved)
	}
	clock.Advance(time.Minute)
	for range payments {
		other.Round(r.Ctx)
		clock.Advance(time.Second)
		// The broker stores a due look-up before it removes the scheduled message.
		r.Until("each look-up to be there once", func() bool { return r.count(subject.LookupRetries, "lookup.*.sandbox.default.*") == payments })
	}
	r.Until("all to be brought forward", func() bool { return len(r.broughtForward("default")) == payments })
	record, err := circuits.ReadResumption(r.Ctx, "sandbox", "default")
	r.Must(err)
	if !record.Done {
		t.Errorf("in the end the record is %+v", record)
	}
	before := r.Stream(subject.Circuits).CachedInfo().State.LastSeq
	third := &lookup.Resume{Worker: r.limited(limit), Circuits: circuits}
	third.Round(r.Ctx)
	if after := r.Stream(subject.Circuits).CachedInfo().State.LastSeq; after != before {
		t.Error("a worker that starts does again what is done")
	}
}

// countdown is a JetStream that ends something after so many publications.
type countdown struct {
	jetstream.JetStream
	left atomic.Int32
	end  func()
}

func (c *countdown) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if c.left.Add(-1) == 0 {
		c.end()
	}
	return c.JetStream.PublishMsg(ctx, m, opts...)
}

// The sequences of LOOKUP_RETRIES begin again when it is recreated.
func TestResumptionAfterTheStreamWasRecreated(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.waiting("default", 3, record.Stopped)
	circuits := r.closed("default")
	(&lookup.Resume{Worker: r.limited(plenty), Circuits: circuits}).Round(r.Ctx)
	r.Recreate(subject.LookupRetries)
	r.waiting("default", 1, record.Stopped)
	r.closed("default")
	last := r.limited(plenty)
	(&lookup.Resume{Worker: last, Circuits: circuits}).Round(r.Ctx)
	if got := r.broughtForward("default"); len(got) != 1 {
		t.Errorf("%d were brought forward, want 1", len(got))
	}
}
