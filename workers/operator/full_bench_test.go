package operator

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// fullStore is how many payments of four events the full store has, unless SCALE_PAYMENTS
// says otherwise: more subjects than the 64 k from which on nats-server walks a stream.
const fullStore = 25_000

// BenchmarkOrderShowInAFullStore reports how long `order show` takes, by payment, by order,
// and by order without the index of orders, and how many times as long as in a store with one
// payment. Notifications, parked look-ups and dead letters are stored too, because an order's
// further payments are sought in them.
func BenchmarkOrderShowInAFullStore(b *testing.B) {
	payments := fullStore
	if text := os.Getenv("SCALE_PAYMENTS"); text != "" {
		var err error
		if payments, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		broker := testbench.Start(b, "sandbox")
		config := broker.Stream(subject.Orders).CachedInfo().Config
		config.MaxBytes = -1
		_, err := broker.JS.UpdateStream(broker.Ctx, config)
		broker.Must(err)
		s := &Deployment{js: broker.JS, tokens: broker.Tokens, streams: map[string]jetstream.Stream{}}
		broker.Must(s.bind(broker.Ctx))
		ids := fillOrders(broker, 1)
		show := func(id string) time.Duration {
			took := make([]time.Duration, 11)
			for i := range took {
				began := time.Now()
				found, err := s.find(broker.Ctx, id, scope{})
				broker.Must(err)
				line, err := s.timeline(broker.Ctx, found, everything())
				broker.Must(err)
				if took[i] = time.Since(began); len(line) != 4 {
					b.Fatalf("%d lines, want the four events", len(line))
				}
			}
			slices.Sort(took)
			return took[len(took)/2]
		}
		small := map[string]time.Duration{"payment": show(ids[0]), "order": show(ids[1])}
		fillOrders(broker, payments)
		report := func(name, id string) {
			took := show(id)
			b.ReportMetric(float64(took.Microseconds())/1000, name+"-ms")
			if small[name] > 0 {
				b.ReportMetric(float64(took)/float64(small[name]), name+"-ratio")
			}
		}
		report("payment", ids[0])
		report("order", ids[1])
		index, orders := broker.Stream(subject.OrderPayments).CachedInfo().State, broker.Stream(subject.Orders).CachedInfo().State
		b.ReportMetric(float64(index.Bytes)/float64(index.Msgs), "B/entry")
		b.ReportMetric(float64(orders.Bytes)/float64(orders.Msgs), "B/event")
		broker.Recreate(subject.OrderPayments) // As after an upgrade.
		broker.Must(s.bind(broker.Ctx))
		report("order-without-index", ids[1])
		for _, name := range []string{subject.Orders, subject.DeadLetters} { // The broker's check at the end takes long, or wants whole documents.
			broker.Must(broker.Stream(name).Purge(broker.Ctx))
		}
	}
}

// fillOrders stores payments of four events and returns the first one's id and order.
func fillOrders(b *testbench.Broker, payments int) (first [2]string) {
	b.T.Helper()
	for i := range payments {
		payment, of := uuid.NewString(), uuid.NewString()
		if i == 0 {
			first = [2]string{payment, of}
		}
		_, err := b.JS.PublishAsync(b.Unit(payment).OfOrder(b.Tokens.Token(of)), nil, jetstream.WithMsgID(payment[:11]))
		b.Must(err)
		_, err = b.JS.PublishAsync(b.Unit("another-"+payment).Notification(), []byte(`{"payment":"x","order":"y"}`))
		b.Must(err)
		_, err = b.JS.PublishAsync(b.Unit("another-"+payment).DeadLetter("data", "lookup"), []byte(`{"payment":"x","order":"y"}`))
		b.Must(err)
		parked := b.Tokens.Waiting("sandbox", "default", "another-"+payment)
		_, err = b.JS.PublishMsgAsync(&nats.Msg{Subject: parked.Parked(), Data: []byte(`{"payment":"x","order":"y"}`), Header: nats.Header{
			"Nats-Schedule": {"@at " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)}, "Nats-Schedule-Target": {parked.Due()},
		}})
		b.Must(err)
		e := order.Event{Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: of}
		for _, e.Status = range []order.Status{order.Pending, order.Authorized, order.Paid, order.Settled} {
			e.Transition++
			e.ProviderStatus, e.ObservedAt, e.Observation = string(e.Status), time.Now().UTC(), e.Transition
			body, err := json.Marshal(e)
			b.Must(err)
			m := &nats.Msg{Subject: b.Unit(payment).Event(b.Tokens.Token(of), e.Status), Data: body, Header: nats.Header{jetstream.MsgIDHeader: {uuid.NewString()}}}
			for name, value := range e.CloudEvent("", of) {
				m.Header.Set(name, value)
			}
			_, err = b.JS.PublishMsgAsync(m)
			b.Must(err)
		}
		if i%500 == 0 {
			<-b.JS.PublishAsyncComplete()
		}
	}
	<-b.JS.PublishAsyncComplete()
	return first
}
