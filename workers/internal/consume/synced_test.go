package consume_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/workers/internal/consume"
)

// slowSync is a stream whose batches are synced when the test says so: its reads wait
// for that, as the broker's do.
type slowSync struct {
	jetstream.Stream
	reads  atomic.Int64
	begun  chan struct{}
	result chan error
}

func (s *slowSync) GetLastMsgForSubject(ctx context.Context, filter string) (*jetstream.RawStreamMsg, error) {
	s.reads.Add(1)
	s.begun <- struct{}{}
	if err := <-s.result; err != nil {
		return nil, err
	}
	return s.Stream.GetLastMsgForSubject(ctx, filter)
}

// batches prepares a rig for batches, and options with a stream that syncs slowly.
func batches(t *testing.T) (*rig, consume.Options, *slowSync) {
	t.Helper()
	r := setup(t, never)
	stream, err := r.JS.UpdateStream(r.Ctx, jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}, AllowAtomicPublish: true})
	r.Must(err)
	s := &slowSync{Stream: stream, begun: make(chan struct{}, 64), result: make(chan error, 64)}
	o := r.options(8)
	o.Stream = s
	return r, o, s
}

// batch stores one message on each of the subjects as one atomic batch.
func (r *rig) batch(id string, subjects ...string) {
	r.T.Helper()
	for i, on := range subjects {
		m := nats.NewMsg("work." + on)
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i == len(subjects)-1 {
			m.Header.Set("Nats-Batch-Commit", "1")
		}
		reply, err := r.NC.RequestMsgWithContext(r.Ctx, m)
		r.Must(err)
		if i == len(subjects)-1 && len(reply.Data) == 0 {
			r.T.Fatal("the batch was not committed")
		}
	}
}

func TestMessagesOfABatchAreHandledOnceItIsSynced(t *testing.T) {
	t.Parallel()
	r, o, sync := batches(t)
	handled := make(chan struct{}, 64)
	w := r.start(o, func(context.Context, jetstream.Msg) error { handled <- struct{}{}; return nil })
	r.batch("first", "a", "b", "c")
	receive(r, sync.begun, 1)
	if len(handled) > 0 {
		t.Error("a message was handled before its batch was synced")
	}
	sync.result <- nil
	receive(r, handled, 3)
	if n := sync.reads.Load(); n != 1 {
		t.Errorf("%d reads for one batch", n)
	}
	r.publish("d", "e")
	receive(r, handled, 2)
	if n := sync.reads.Load(); n != 1 {
		t.Errorf("%d reads after single messages", n)
	}
	r.batch("second", "a", "b")
	receive(r, sync.begun, 1)
	sync.result <- nil
	receive(r, handled, 2)
	w.end()
}

func TestMessagesWhoseSyncIsNotProvenAreRedelivered(t *testing.T) {
	t.Parallel()
	r, o, sync := batches(t)
	handled := make(chan struct{}, 64)
	w := r.start(o, func(context.Context, jetstream.Msg) error { handled <- struct{}{}; return nil })
	for range 2 {
		sync.result <- fmt.Errorf("read: %w", errors.ErrUnsupported)
	}
	r.batch("first", "a", "b")
	receive(r, sync.begun, 2)
	if len(handled) > 0 {
		t.Error("a message was handled whose sync is not proven")
	}
	sync.result <- nil
	receive(r, handled, 2)
	w.end()
}

// cutOff is a stream whose server lost power while a batch was being synced: the reads that
// were under way fail, and those after the restart find a stream that ends below the batch.
type cutOff struct {
	jetstream.Stream
	reads atomic.Int64
	last  uint64 // The stream's last sequence after the restart, 0 for an empty one.
}

func (s *cutOff) GetLastMsgForSubject(context.Context, string) (*jetstream.RawStreamMsg, error) {
	switch {
	case s.reads.Add(1) == 1:
		return nil, errors.New("timeout")
	case s.last == 0:
		return nil, jetstream.ErrMsgNotFound
	}
	return &jetstream.RawStreamMsg{Sequence: s.last}, nil
}

// What waits in the client's buffer when the power goes is still there when the broker is
// back, and does not exist any more.
func TestMessagesThatAPowerCutTookAwayAreNotHandled(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]uint64{"some are left": 1, "none is left": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, o, _ := batches(t)
			r.publish("before")
			handled := make(chan uint64, 64)
			cut := &cutOff{last: last}
			o.Stream = cut
			w := r.start(o, func(_ context.Context, m jetstream.Msg) error {
				meta, err := m.Metadata()
				if err == nil && meta.Sequence.Stream > 1 {
					handled <- meta.Sequence.Stream
				}
				return err
			})
			r.batch("lost", "a", "b", "c")
			r.Until("three messages were checked", func() bool { return cut.reads.Load() >= 2 })
			w.end()
			select {
			case sequence := <-handled:
				t.Errorf("message %d was handled, the stream ends at %d", sequence, last)
			default:
			}
		})
	}
}
