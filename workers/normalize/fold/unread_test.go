package fold_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
)

// unread is a broker whose disk fails for a moment: it says that there is no observation, as
// the test of stream.NextOrNone shows of a real one.
type unread struct {
	jetstream.JetStream
	now bool
}

func (u *unread) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := u.JetStream.Stream(ctx, name)
	if name == subject.Statuses {
		s = unreadStream{s, u}
	}
	return s, err
}

type unreadStream struct {
	jetstream.Stream
	*unread
}

func (s unreadStream) GetMsg(ctx context.Context, sequence uint64, o ...jetstream.GetMsgOpt) (*jetstream.RawStreamMsg, error) {
	if s.now {
		return nil, jetstream.ErrMsgNotFound
	}
	return s.Stream.GetMsg(ctx, sequence, o...)
}

// An observation that was taken for removed would lose its event.
func TestObservationThatTheBrokerCannotReadIsNotGone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.observe(t, "p", "pending", 0)
	second := b.observe(t, "p", "paid", 0)
	js := &unread{JetStream: b.JS, now: true}
	w := b.worker(t, js)
	if err := w.Handle(b.Ctx, second); !errors.Is(err, stream.ErrUnread) {
		t.Fatalf("handled with %v", err)
	}
	js.now = false
	b.Must(w.Handle(b.Ctx, second))
	if got := len(b.log(t, "p")); got != 2 {
		t.Errorf("%d events, want 2", got)
	}
}

// A read that fails does not show that STATUSES was recreated.
func TestObservationThatTheBrokerCannotReadEndsNoWorker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.observe(t, "p", "paid", 0)
	b.Must(b.worker(t, b.JS).Handle(b.Ctx, m))
	m.Header.Del(jetstream.ExpectedLastSubjSeqHeader) // So the log is read, as for a later observation.
	var fatal *consume.Fatal
	if err := b.worker(t, &unread{JetStream: b.JS, now: true}).Handle(b.Ctx, m); !errors.Is(err, stream.ErrUnread) || errors.As(err, &fatal) {
		t.Errorf("handled with %v", err)
	}
}
