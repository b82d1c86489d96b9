package operator

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// fullStore is how many payments of four events the full store has, unless SCALE_PAYMENTS
// says otherwise: more subjects than the 64 k from which on nats-server walks a stream.
const fullStore = 25_000

// BenchmarkOrderShowInAFullStore reports how long `order show` takes, by payment and by
// order, and how many times as long as in a store with one payment.
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
		s := &session{settings: &settings{}, js: broker.JS, tokens: broker.Tokens, streams: map[string]jetstream.Stream{}}
		broker.Must(s.bind(broker.Ctx))
		ids := fillOrders(broker, 1)
		show := func(id string) time.Duration {
			took := make([]time.Duration, 11)
			for i := range took {
				began := time.Now()
				found, err := s.find(broker.Ctx, id, scope{})
				broker.Must(err)
				line, err := s.timeline(broker.Ctx, found)
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
		for name, id := range map[string]string{"payment": ids[0], "order": ids[1]} {
			took := show(id)
			b.ReportMetric(float64(took.Microseconds())/1000, name+"-ms")
			b.ReportMetric(float64(took)/float64(small[name]), name+"-ratio")
		}
		broker.Must(broker.Stream(subject.Orders).Purge(broker.Ctx))
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
		e := order.Event{Provider: "sandbox", Account: "default", Kind: order.Payment, Payment: payment, Order: of}
		for _, e.Status = range []order.Status{order.Pending, order.Authorized, order.Paid, order.Settled} {
			e.Transition++
			e.ProviderStatus, e.ObservedAt, e.Observation = string(e.Status), time.Now().UTC(), e.Transition
			body, err := json.Marshal(e)
			b.Must(err)
			_, err = b.JS.PublishAsync(b.Unit(payment).Event(b.Tokens.Token(of), e.Status), body)
			b.Must(err)
		}
		if i%500 == 0 {
			<-b.JS.PublishAsyncComplete()
		}
	}
	<-b.JS.PublishAsyncComplete()
	return first
}
