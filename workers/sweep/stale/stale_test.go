package stale_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/trace"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

const day = 24 * time.Hour

func TestSilentPaymentComesDueOnceItsPauseIsOver(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		status  order.Status
		after   time.Duration
		want    bool
		prepare func(r *rig)
	}{
		{name: "pending for four minutes", status: order.Pending, after: 4 * time.Minute},
		{name: "pending for six minutes", status: order.Pending, after: 6 * time.Minute, want: true},
		{name: "paid for an hour", status: order.Paid, after: time.Hour},
		{name: "paid for two days", status: order.Paid, after: 2 * day, want: true},
		{name: "pending for the horizon", status: order.Pending, after: 400 * day},
		{name: "final", status: order.Refunded, after: 30 * day},
		{name: "canceled for less than an hour", status: order.Canceled, after: 59 * time.Minute},
		{name: "canceled for an hour", status: order.Canceled, after: 2 * time.Hour, want: true},
		{name: "refused for a day, looked at after an hour", status: order.Refused, after: 25 * time.Hour, want: true, prepare: func(r *rig) {
			r.clock.Turn(2 * time.Hour)
			r.observe("p", order.Refused, 0)
		}},
		{name: "expired for hours, looked at after an hour", status: order.Expired, after: 23 * time.Hour, prepare: func(r *rig) {
			r.clock.Turn(2 * time.Hour)
			r.observe("p", order.Expired, 0)
		}},
		{name: "failed for a week, looked at after a day", status: order.Failed, after: 8 * day, want: true, prepare: func(r *rig) {
			r.clock.Turn(2 * day)
			r.observe("p", order.Failed, 0)
		}},
		{name: "failed for a week, looked at then", status: order.Failed, after: 13 * day, prepare: func(r *rig) {
			r.clock.Turn(7*day + time.Hour)
			r.observe("p", order.Failed, 0)
		}},
		{name: "canceled for weeks", status: order.Canceled, after: 14 * day},
		{name: "looked at just before", status: order.Pending, after: 10 * time.Minute, prepare: func(r *rig) {
			r.clock.Turn(7 * time.Minute)
			r.observe("p", order.Pending, 0)
		}},
		{name: "looked at long before", status: order.Pending, after: 10 * time.Minute, want: true, prepare: func(r *rig) {
			r.clock.Turn(2 * time.Minute)
			r.observe("p", order.Pending, 0)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			r.events("p", true, tc.status)
			if tc.prepare != nil {
				tc.prepare(r)
			}
			r.clock.Turn(tc.after)
			r.Must(r.sweeper(r.JS).Round(r.Ctx))
			p := r.parked("p")
			if (p != nil) != tc.want {
				t.Fatalf("parked %+v, want one: %v", p, tc.want)
			}
			if p != nil && (p.Cause != order.CauseSweep || p.Payment != "p" || p.Order != "p" || p.Covers != 0 || p.Attempts != 0 || !trace.Valid(p.Trace)) {
				t.Errorf("parked %+v", p)
			}
		})
	}
}

func TestOnlyTheLastStateOfAPaymentCounts(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("moved", true, order.Pending, order.Paid)
	r.clock.Turn(10 * time.Minute) // Long for pending, short for paid.
	r.Must(r.sweeper(r.JS).Round(r.Ctx))
	if p := r.parked("moved"); p != nil {
		t.Errorf("a paid payment was swept as pending: %+v", p)
	}
}

func TestWhatWasOnlyEverBelievedIsNotAskedFor(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("believed", false, order.Pending)
	r.clock.Turn(2 * time.Hour)
	r.Must(r.sweeper(r.JS).Round(r.Ctx))
	if p := r.parked("believed"); p != nil {
		t.Errorf("nobody can be asked, but parked %+v", p)
	}
}

func TestGivingUpCountsAsALook(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("p", true, order.Pending)
	r.letter("p", record.StageLookup, record.Open)
	r.clock.Turn(4*time.Minute + 59*time.Second)
	r.Must(r.sweeper(r.JS).Round(r.Ctx))
	if p := r.parked("p"); p != nil {
		t.Errorf("parked %+v", p)
	}
}

func TestADueLookUpIsNotParkedASecondTime(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("p", true, order.Pending)
	r.clock.Turn(6 * time.Minute)
	r.Must(r.sweeper(r.JS).Round(r.Ctx))
	r.fire("p")
	for range 2 {
		r.Must(r.sweeper(r.JS).Round(r.Ctx))
	}
	r.Must(r.JS.DeleteConsumer(r.Ctx, subject.LookupRetries, subject.LookupDueConsumer("sandbox"))) // It waits for the next one.
	r.Must(r.sweeper(r.JS).Round(r.Ctx))
	if due := r.due("p"); len(due) != 1 {
		t.Fatalf("%d look-ups are due, want 1", len(due))
	}
	place, err := r.retries.Read(r.Ctx, "sandbox", "default", "p")
	r.Must(err)
	if place.Sequence != 0 {
		t.Errorf("parked beside the due one: %+v", place.Parked)
	}
}

// fire lets what is parked come due now and waits until the broker has
// stored it.
func (r *rig) fire(payment string) {
	r.T.Helper()
	place, err := r.retries.Read(r.Ctx, "sandbox", "default", payment)
	r.Must(err)
	p := place.Parked
	p.DueAt = time.Now()
	r.Must(r.retries.Schedule(r.Ctx, retry.Retry, p))
	r.Until("the look-up is due", func() bool { return len(r.due(payment)) > 0 })
}

// dying is a JetStream that fails at its n-th write, after the broker took it.
type dying struct {
	jetstream.JetStream
	left *int
}

var errCrash = errors.New("crashed")

func (d dying) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := d.JetStream.PublishMsg(ctx, m, o...)
	if *d.left--; *d.left == 0 {
		return nil, errCrash
	}
	return ack, err
}

func TestCrashInTheMiddleAndTwoCopiesParkEachPaymentOnce(t *testing.T) {
	t.Parallel()
	r := setup(t)
	const payments = 40
	for i := range payments {
		r.events(fmt.Sprintf("p-%d", i), true, order.Pending)
	}
	r.clock.Turn(time.Hour)
	left := 15
	if err := r.sweeper(dying{r.JS, &left}).Round(r.Ctx); !errors.Is(err, errCrash) {
		t.Fatalf("the crash came out as %v", err)
	}
	var copies sync.WaitGroup
	for range 2 {
		s := r.sweeper(r.JS)
		copies.Go(func() {
			if err := s.Round(r.Ctx); err != nil {
				t.Error(err)
			}
		})
	}
	copies.Wait()
	stream, err := r.JS.Stream(r.Ctx, subject.LookupRetries)
	r.Must(err)
	info, err := stream.Info(r.Ctx)
	r.Must(err)
	if info.State.Msgs != payments || info.State.LastSeq != payments {
		t.Errorf("%d look-ups are parked by %d writes, want %d of each", info.State.Msgs, info.State.LastSeq, payments)
	}
}

func TestANewPaymentIsFoundInTheNextRound(t *testing.T) {
	t.Parallel()
	r := setup(t)
	s := r.sweeper(r.JS)
	r.Must(s.Round(r.Ctx))
	for _, after := range []time.Duration{2 * day, 2*day + time.Second} {
		payment := after.String()
		r.events(payment, true, order.Paid)
		r.clock.Turn(after)
		r.Must(s.Round(r.Ctx))
		if r.parked(payment) == nil {
			t.Errorf("the payment of two days was not found in the round after %v", after)
		}
	}
}

// A round that has not read all events cannot tell which one is a payment's last.
func TestARoundReadsAPieceAndJudgesOnceAllIsRead(t *testing.T) {
	t.Parallel()
	r := setup(t)
	const waiting = 5
	r.events("moved", true, order.Pending)
	for i := range waiting {
		r.events(fmt.Sprintf("waiting-%d", i), true, order.Pending)
	}
	r.append("moved", order.Pending, order.Paid)
	var reads atomic.Int64
	s := r.sweeper(counting{r.JS, &reads})
	s.Bound(4, 3)
	r.clock.Turn(time.Hour)
	parked := func() (n int) {
		for i := range waiting {
			if r.parked(fmt.Sprintf("waiting-%d", i)) != nil {
				n++
			}
		}
		return n
	}
	for round, want := range []int{0, 3, waiting} {
		reads.Store(0)
		r.Must(s.Round(r.Ctx))
		if got := parked(); got != want {
			t.Errorf("after round %d look-ups of %d payments are scheduled, want %d", round+1, got, want)
		}
		if n := reads.Load(); round == 0 && (n < 4+1 || n > 2*4) {
			t.Errorf("the first round has read %d messages, want four and a few ahead", n)
		}
	}
	if p := r.parked("moved"); p != nil {
		t.Errorf("a paid payment was swept as pending: %+v", p)
	}
}
