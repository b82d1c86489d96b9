package stale_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// failing is a broker whose disk fails for a moment: it says of a message that it cannot read
// that there is none (see consume.fatalAfter).
type failing struct {
	jetstream.JetStream
	now   bool
	reads int  // That were answered so.
	full  bool // Nothing can be stored.
}

func (f *failing) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if f.full {
		return nil, errBroken
	}
	return f.JetStream.PublishMsg(ctx, m, o...)
}

func (f *failing) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := f.JetStream.Stream(ctx, name)
	if name == subject.Orders || name == subject.Notifications {
		s = failingStream{s, f}
	}
	return s, err
}

type failingStream struct {
	jetstream.Stream
	*failing
}

func (s failingStream) GetMsg(ctx context.Context, sequence uint64, o ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	if s.now {
		s.reads++
		return nil, jetstream.ErrMsgNotFound
	}
	return s.Stream.GetMsg(ctx, sequence, o...)
}

func TestAPaymentIsNotForgottenBecauseTheBrokerCouldNotReadIt(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("p", true, order.Pending)
	js := &failing{JetStream: r.JS}
	s := r.sweeper(js)
	r.Must(s.Round(r.Ctx)) // It has been read.
	r.clock.Turn(6 * time.Minute)
	js.now = true
	_ = s.Round(r.Ctx)
	js.now = false
	for range 3 {
		r.clock.Turn(24 * time.Hour)
		r.Must(s.Round(r.Ctx))
	}
	if r.parked("p") == nil {
		t.Error("the payment has been pending for three days, and sweep never asks for it again")
	}
}

// A payment counts as removed at the second "not found" in a row. A read between the two
// that finds its event begins the count again.
func TestAPaymentIsForgottenOnceItsEventIsMissingForAnHour(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("p", false, order.Pending) // Its account has no look-up, so it is judged again and again.
	js := &failing{JetStream: r.JS}
	s := r.sweeper(js)
	round := func(after time.Duration, missing bool, want int) {
		t.Helper()
		r.clock.Advance(after)
		js.now, js.reads = missing, 0
		r.Must(s.Round(r.Ctx))
		if js.reads != want {
			t.Errorf("%d reads found nothing, want %d", js.reads, want)
		}
	}
	const walk, event = 1, 1 // Reads of a round: for new events, and of the payment's last one.
	round(0, false, 0)
	round(6*time.Minute, true, walk+event)
	round(59*time.Minute, true, walk) // It is not due.
	round(2*time.Minute, false, 0)    // It is found.
	round(2*time.Hour, true, walk+event)
	round(2*time.Hour, true, walk+event) // The second in a row.
	round(48*time.Hour, true, walk)
}

func TestANotificationIsNotForgottenBecauseTheBrokerCouldNotReadIt(t *testing.T) {
	t.Parallel()
	r := setup(t)
	before, bad := r.notify("before"), r.notify("bad")
	cannot := broken{r.JS, r.Tokens.Waiting("sandbox", "default", "bad").Parked()}
	js := &failing{JetStream: cannot}
	s := r.sweeper(js)
	judge := func(want uint64) {
		t.Helper()
		judged, _ := s.Unprocessed(r.Ctx, "sandbox", bad, time.Now().Add(time.Minute))
		if judged != want {
			t.Errorf("judged up to %d, want %d", judged, want)
		}
	}
	judge(before)
	js.now = true
	judge(before)
	r.clock.Advance(59 * time.Minute)
	judge(before)
	js.now = false
	judge(before) // It is found.
	js.now = true
	r.clock.Advance(2 * time.Minute)
	judge(before)
	r.clock.Advance(time.Hour)
	judge(bad)
}

func TestADeadLetterIsNotForgottenBecauseTheBrokerCouldNotReadItsEvent(t *testing.T) {
	t.Parallel()
	r := setup(t)
	t.Cleanup(r.Stop) // Its own check at the end wants events only.
	planted := r.plantEvent("p", "paid", "{")
	js := &failing{JetStream: r.JS, full: true}
	s := r.sweeper(js)
	if err := s.Round(r.Ctx); !errors.Is(err, errBroken) {
		t.Fatalf("the round says %v", err)
	}
	js.full, js.now = false, true
	r.Must(s.Round(r.Ctx))
	js.now = false
	r.Must(s.Round(r.Ctx))
	r.reported("p", planted)
}

// What is passed over unread could be removed without an outcome.
func TestNewNotificationsAreNotPassedOverBecauseTheBrokerCouldNotReadThem(t *testing.T) {
	t.Parallel()
	r := setup(t)
	floor := r.notify("p")
	js := &failing{JetStream: r.JS, now: true}
	s := r.sweeper(js)
	judge := func() (uint64, error) { return s.Unprocessed(r.Ctx, "sandbox", floor, time.Now().Add(time.Minute)) }
	if judged, err := judge(); judged != 0 || !errors.Is(err, stream.ErrUnread) {
		t.Fatalf("judged up to %d, %v", judged, err)
	}
	js.now = false
	if judged, err := judge(); judged != floor || err != nil || r.parked("p") == nil {
		t.Errorf("judged up to %d, %v, parked is %+v", judged, err, r.parked("p"))
	}
}
