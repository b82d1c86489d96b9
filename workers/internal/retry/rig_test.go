package retry_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/retry"
)

func TestMain(m *testing.M) { testbench.Main(m) }

// rig is a broker and a store on it.
type rig struct {
	*testbench.Broker
	store *retry.Store
	due   jetstream.Consumer
}

func setup(t *testing.T) *rig {
	t.Helper()
	r := &rig{Broker: testbench.Start(t, "sandbox")}
	r.store = r.open(r.JS)
	var err error
	r.due, err = r.JS.Consumer(r.Ctx, subject.LookupRetries, subject.LookupDueConsumer("sandbox"))
	r.Must(err)
	return r
}

func (r *rig) open(js jetstream.JetStream) *retry.Store {
	r.T.Helper()
	store, err := retry.Open(r.Ctx, js, r.Tokens)
	r.Must(err)
	return store
}

// rival is a JetStream on which another writer is always first: it runs the next move
// before each write.
type rival struct {
	jetstream.JetStream
	mu    sync.Mutex
	moves []func()
}

// PublishMsg runs the next move first.
func (r *rival) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	r.mu.Lock()
	var move func()
	if len(r.moves) > 0 {
		move, r.moves = r.moves[0], r.moves[1:]
	}
	r.mu.Unlock()
	if move != nil {
		move()
	}
	return r.JetStream.PublishMsg(ctx, m, opts...)
}

// overtaken is a store before each of whose writes one of the moves is made.
func (r *rig) overtaken(moves ...func()) *retry.Store {
	return r.open(&rival{JetStream: r.JS, moves: moves})
}

// far is a due time after the end of every test.
func far(hours int) time.Time {
	return time.Date(2099, 1, 2, 3, 4, 5, 678901234, time.UTC).Add(time.Duration(hours) * time.Hour)
}

// waiting is a scheduled look-up with every field set.
func scheduled(payment string, stands uint64, attempts int) record.ScheduledLookUp {
	notified := time.Date(2026, 11, 22, 1, 2, int(stands), 0, time.UTC)
	failed := time.Date(2026, 11, 22, 2, 0, 0, 5, time.UTC)
	return record.ScheduledLookUp{
		Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: "o-" + payment,
		Fields: map[string]string{"k": "v"}, Covers: stands, Notification: "n" + string(rune('0'+stands%10)), NotifiedAt: &notified,
		Cause: order.CauseNotification, Reason: "unavailable", Attempts: attempts, FirstFailure: &failed, DueAt: far(attempts),
	}
}

func (r *rig) read(payment string) retry.Entry {
	r.T.Helper()
	entry, err := r.store.Read(r.Ctx, "sandbox", "default", payment)
	r.Must(err)
	return entry
}

// next waits for one delivered look-up.
func (r *rig) next() jetstream.Msg {
	r.T.Helper()
	m, err := r.due.Next(jetstream.FetchMaxWait(30 * time.Second))
	if err != nil {
		r.T.Fatalf("nothing fires: %v", err)
	}
	r.Must(m.DoubleAck(r.Ctx))
	return m
}

// stored is how many messages the stream has.
func (r *rig) stored() uint64 {
	r.T.Helper()
	stream, err := r.JS.Stream(r.Ctx, subject.LookupRetries)
	r.Must(err)
	return stream.CachedInfo().State.Msgs
}

// raw reads the schedule as it is stored.
func (r *rig) raw(payment string) *jetstream.RawStreamMsg {
	r.T.Helper()
	stream, err := r.JS.Stream(r.Ctx, subject.LookupRetries)
	r.Must(err)
	m, err := stream.GetLastMsgForSubject(r.Ctx, r.Tokens.Waiting("sandbox", "default", payment).Parked())
	r.Must(err)
	return m
}
