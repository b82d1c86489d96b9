package stale_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// failing is a broker whose disk fails for a moment: it says of a message that it cannot read
// that there is none (see consume.fatalAfter).
type failing struct {
	jetstream.JetStream
	now bool
}

func (f *failing) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := f.JetStream.Stream(ctx, name)
	if name == subject.Orders {
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
