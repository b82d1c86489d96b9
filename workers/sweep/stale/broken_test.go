package stale_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// plant parks what does not decode for a payment, due in an hour.
func (r *rig) plant(payment string) {
	r.T.Helper()
	place := r.Tokens.Waiting("sandbox", "default", payment)
	m := nats.NewMsg(place.Parked())
	m.Data = []byte(`{"attempts":"many"`)
	m.Header.Set("Nats-Schedule", "@at "+time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", place.Due())
	_, err := r.JS.PublishMsg(r.Ctx, m)
	r.Must(err)
}

// stands is the notification that the look-up of a payment stands for, parked or
// fired, 0 where there is none or it does not decode.
func (r *rig) stands(payment string) uint64 {
	r.T.Helper()
	if p := r.parked(payment); p != nil {
		return p.Covers
	}
	return 0
}

func TestParkedLookUpThatDoesNotDecodeHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("bad", true, order.Pending)
	r.events("good", true, order.Pending)
	r.plant("bad")
	r.clock.Turn(6 * time.Minute)
	_ = r.sweeper(r.JS).Round(r.Ctx) // Whether it calls the document an error is for park to say.
	if r.parked("good") == nil {
		t.Error("the payment behind it was not looked at")
	}
}

func TestNotificationOfOneThatDoesNotDecodeHoldsUpNobodyElseAndIsNotLost(t *testing.T) {
	t.Parallel()
	r := setup(t)
	before, bad, behind := r.notify("before"), r.notify("bad"), r.notify("behind")
	r.plant("bad")
	judged, _ := r.sweeper(r.JS).Unprocessed(r.Ctx, "sandbox", behind, time.Now().Add(time.Minute))
	if r.parked("before") == nil || r.parked("behind") == nil {
		t.Error("one of the others was not made due")
	}
	if judged < before || judged >= bad && r.stands("bad") != bad {
		t.Errorf("judged up to %d, but nothing stands for %d", judged, bad)
	}
}

// broken is a JetStream that cannot read what is parked for one payment.
type broken struct {
	jetstream.JetStream
	on string
}

var errBroken = errors.New("broken")

func (b broken) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := b.JetStream.Stream(ctx, name)
	return cracked{stream, b.on}, err
}

type cracked struct {
	jetstream.Stream
	on string
}

func (c cracked) GetLastMsgForSubject(ctx context.Context, on string) (*jetstream.RawStreamMsg, error) {
	if on == c.on {
		return nil, errBroken
	}
	return c.Stream.GetLastMsgForSubject(ctx, on)
}

func TestPaymentThatCannotBeJudgedIsToldOfAndJudgedAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.events("bad", true, order.Pending)
	r.events("good", true, order.Pending)
	s := r.sweeper(broken{r.JS, r.Tokens.Waiting("sandbox", "default", "bad").Parked()})
	for _, after := range []time.Duration{6 * time.Minute, 8 * time.Minute} { // As a new one, and as one that is known.
		r.clock.Turn(after)
		if err := s.Round(r.Ctx); !errors.Is(err, errBroken) {
			t.Errorf("after %v the round says %v", after, err)
		}
	}
	if r.parked("good") == nil || r.parked("bad") != nil {
		t.Error("the payment behind it was not looked at")
	}
}

func TestNotificationThatCannotBeJudgedIsNotPassed(t *testing.T) {
	t.Parallel()
	r := setup(t)
	before := r.notify("before")
	r.notify("bad")
	s := r.sweeper(broken{r.JS, r.Tokens.Waiting("sandbox", "default", "bad").Parked()})
	for _, name := range []string{"behind", "later"} { // Met for the first time, and as one that was passed over.
		behind := r.notify(name)
		judged, err := s.Unprocessed(r.Ctx, "sandbox", behind, time.Now().Add(time.Minute))
		if !errors.Is(err, errBroken) || judged != before {
			t.Errorf("judged up to %d, want %d, and it says %v", judged, before, err)
		}
		if r.parked(name) == nil {
			t.Errorf("%s was not made due", name)
		}
	}
	if r.parked("bad") != nil {
		t.Error("the broken one was made due")
	}
}

// TestNotificationsOfAStreamMadeAnewAreJudged has their numbers begin below what
// the sweeper has seen of the stream that went, and outgrow that before it looks
// again.
func TestNotificationsOfAStreamMadeAnewAreJudged(t *testing.T) {
	t.Parallel()
	for name, grown := range map[string]int{"with fewer": 0, "with more": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			var floor uint64
			for range 3 {
				floor = r.notify("gone")
			}
			s := r.sweeper(r.JS)
			_, err := s.Unprocessed(r.Ctx, "sandbox", floor, time.Now().Add(time.Minute))
			r.Must(err)
			r.Recreate(subject.Notifications)
			r.Apply("sandbox")
			sequence := r.notify("new")
			for i := range grown {
				sequence = r.notify(fmt.Sprintf("later-%d", i))
			}
			judged, err := s.Unprocessed(r.Ctx, "sandbox", sequence, time.Now().Add(time.Minute))
			r.Must(err)
			if judged != sequence || r.parked("new") == nil {
				t.Errorf("judged up to %d of %d, parked %+v", judged, sequence, r.parked("new"))
			}
		})
	}
}
