package scale_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/workers/lookup"
	"arauto/workers/normalize/fold"
	"arauto/workers/workertest"
)

// plant is a broker, a provider to whom every payment is paid, and the real
// workers between them.
type plant struct {
	*broker
	lookup *lookup.Worker
	fold   *fold.Worker
	asked  atomic.Int64
}

func build(t testing.TB, limit time.Duration) *plant {
	t.Helper()
	p := &plant{broker: startBroker(t, limit)}
	server := httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(server.Close)
	bench := p.bench()
	p.lookup = bench.Lookup(provider.Account{
		Name: "default", Settings: map[string]string{"base_url": server.URL, "token": "t"},
	}, lookup.Limits{})
	p.fold = bench.Fold()
	return p
}

// serve answers a look-up. The order is named after the payment.
func (p *plant) serve(w http.ResponseWriter, q *http.Request) {
	p.asked.Add(1)
	payment := path.Base(q.URL.Path)
	if _, err := fmt.Fprintf(w, `{"payment":%q,"order":%q,"status":"paid","amount":10000,"refunded":0}`, payment, "o-"+payment); err != nil {
		p.T.Logf("answer not written: %v", err)
	}
}

func (p *plant) bench() workertest.Bench {
	return workertest.Bench{Bench: p.Bench}
}

// work runs a worker on a durable consumer until the test ends.
func (p *plant) work(stream, durable string, handle func(context.Context, jetstream.Msg) error) {
	p.T.Helper()
	p.bench().Consume(stream, durable, 32, handle)
}

// idle reports whether a durable consumer has nothing left to deliver and
// nothing in work.
func (p *plant) idle(stream, durable string) bool {
	consumer, err := p.JS.Consumer(p.Ctx, stream, durable)
	if err != nil {
		return false
	}
	info := consumer.CachedInfo()
	return info.NumPending == 0 && info.NumAckPending == 0
}

// notification is one as the gateway stores it.
func (p *plant) notification(payment string) *nats.Msg {
	return p.message(p.Tokens.Unit("sandbox", "default", payment).Notification(), record.Notification{
		ID: payment, Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, ReceivedAt: time.Now().UTC(),
	})
}

// schedule is a look-up of a payment, parked as workers/internal/retry does.
func (p *plant) schedule(l record.ScheduledLookUp) *nats.Msg {
	l.Provider, l.Account, l.Kind, l.Reason = "sandbox", "default", order.Payment, "unavailable"
	place := p.Tokens.Waiting(l.Provider, l.Account, l.Payment)
	m := p.message(place.Parked(), l)
	m.Header.Set("Nats-Schedule", "@at "+l.DueAt.UTC().Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", place.Due())
	return m
}

func (p *plant) message(on string, body any) *nats.Msg {
	m := nats.NewMsg(on)
	var err error
	if m.Data, err = json.Marshal(body); err != nil {
		p.T.Errorf("encode message: %v", err)
	}
	return m
}

// publish stores messages without waiting for each, and returns their
// sequences once all are confirmed.
func (p *plant) publish(count int, message func(i int) *nats.Msg) []uint64 {
	p.T.Helper()
	futures := make([]jetstream.PubAckFuture, count)
	for i := range count {
		var err error
		futures[i], err = p.JS.PublishMsgAsync(message(i), jetstream.WithStallWait(10*time.Second)) // A slow disk is no failure.
		p.Must(err)
	}
	sequences := make([]uint64, count)
	for i, f := range futures {
		select {
		case ack := <-f.Ok():
			sequences[i] = ack.Sequence
		case err := <-f.Err():
			p.T.Fatalf("publish: %v", err)
		case <-p.Ctx.Done():
			p.T.Fatal("publishing takes too long")
		}
	}
	return sequences
}

// batch is how many messages the broker takes as one atomic write.
const batch = 1000

// parkFar parks look-ups that come due after the test, in atomic batches: one
// fsync for each batch makes the writing short. What is stored is the same.
func (p *plant) parkFar(count int) {
	p.T.Helper()
	due := time.Now().Add(12 * time.Hour)
	for first := 0; first < count; first += batch {
		end := min(first+batch, count)
		for i := first; i < end; i++ {
			m := p.schedule(record.ScheduledLookUp{
				Payment: fmt.Sprintf("far-%d", i), Covers: uint64(i) + 1, Cause: order.CauseNotification, Attempts: 1,
				DueAt: due.Add(time.Duration(i) * 10 * time.Millisecond),
			})
			m.Header.Set("Nats-Batch-Id", fmt.Sprintf("far-%d", first))
			m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(i-first+1))
			if i < end-1 {
				p.Must(p.nc.PublishMsg(m))
				continue
			}
			m.Header.Set("Nats-Batch-Commit", "1")
			p.commit(m)
		}
	}
	if got := p.parked(); got != count {
		p.T.Fatalf("%d look-ups are parked, want %d", got, count)
	}
}

// commit sends the last message of a batch and waits for the broker's word.
func (p *plant) commit(m *nats.Msg) {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(p.Ctx, time.Minute)
	defer cancel()
	answer, err := p.nc.RequestMsgWithContext(ctx, m)
	p.Must(err)
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Count int                 `json:"count"`
	}
	p.Must(json.Unmarshal(answer.Data, &ack))
	if ack.Error != nil || ack.Count == 0 {
		p.T.Fatalf("park a batch: %v, %d stored", ack.Error, ack.Count)
	}
}
