package stuck_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/workers/sweep/stuck"
)

// unread is a broker whose disk fails for some messages: it says that there are none, as the
// test of stream.NextOrNone shows of a real one.
type unread struct {
	jetstream.JetStream
	upTo uint64 // Reads that begin at or below it fail.
}

func (u *unread) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := u.JetStream.Stream(ctx, name)
	return unreadStream{s, u}, err
}

type unreadStream struct {
	jetstream.Stream
	*unread
}

func (s unreadStream) GetMsg(ctx context.Context, sequence uint64, o ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	if sequence <= s.upTo {
		return nil, jetstream.ErrMsgNotFound
	}
	return s.Stream.GetMsg(ctx, sequence, o...)
}

func TestScheduleThatTheBrokerCannotReadIsReadAgainAndHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.park("first", time.Now().Add(time.Hour))
	r.park("second", time.Now().Add(time.Hour))
	js := &unread{JetStream: r.JS}
	clock := time.Duration(0)
	w, err := stuck.New(r.Ctx, stuck.Options{
		JS: js, Log: zap.NewNop(), Metrics: stuck.NewMetrics(prometheus.NewRegistry()), Now: func() time.Time { return time.Now().Add(clock) }, After: time.Minute,
	})
	r.Must(err)
	r.Must(w.Round(r.Ctx)) // It reads both.
	first, second := r.place("first").Sequence, r.place("second").Sequence
	clock = 2 * time.Hour
	js.upTo = first
	if err := w.Round(r.Ctx); !errors.Is(err, stream.ErrUnread) {
		t.Fatalf("the round says %v", err)
	}
	if r.place("first").Sequence != first || r.place("second").Sequence == second {
		t.Fatalf("the schedules are %d and %d, before %d and %d: want the second published again", r.place("first").Sequence, r.place("second").Sequence, first, second)
	}
	js.upTo = 0
	clock += 2 * time.Hour
	r.Must(w.Round(r.Ctx))
	if r.place("first").Sequence == first {
		t.Error("the first was not published again once it could be read")
	}
}
