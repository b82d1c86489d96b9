package subscriber_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/subscriber"
)

// A service that books what was paid. In production js comes from
// jetstream.New(nc), and ctx ends with the process.
func ExampleRun() {
	js, stored, stop := exampleBroker()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	book := func(_ context.Context, e subscriber.Event) error {
		fmt.Printf("order %s is %s: %d %s, transition %d\n", e.Order, e.Status, e.Amount.Value, e.Amount.Currency, e.Transition)
		if e.Sequence == stored {
			cancel()
		}
		return nil // The service has stored its work.
	}
	if err := subscriber.Run(ctx, js, subscriber.Options{Consumer: "billing"}, book); err != nil {
		fmt.Println(err)
	}
	// Output:
	// order 102030 is paid: 10000 BRL, transition 1
	// order 102030 is refunded: 10000 BRL, transition 2
}

// exampleBroker is a broker with two events and the consumer billing.
func exampleBroker() (js jetstream.JetStream, last uint64, stop func()) {
	folder, err := os.MkdirTemp("", "example")
	exit(err)
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: folder, NoLog: true, NoSigs: true})
	exit(err)
	s.Start()
	s.ReadyForConnections(time.Minute)
	nc, err := nats.Connect(s.ClientURL())
	exit(err)
	js, err = jetstream.New(nc)
	exit(err)
	ctx := context.Background()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	exit(err)
	_, err = js.CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1})
	exit(err)
	for n, status := range []order.Status{order.Paid, order.Refunded} {
		e := event("102030", uint64(n)+1)
		e.Order, e.Status, e.Amount = "102030", status, &order.Amount{Currency: "BRL", Value: 10000}
		body, err := json.Marshal(e)
		exit(err)
		ack, err := js.Publish(ctx, "orders.sandbox.default.102030.102030."+string(status), body)
		exit(err)
		last = ack.Sequence
	}
	return js, last, func() {
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
		exit(os.RemoveAll(folder))
	}
}

func exit(err error) {
	if err != nil {
		panic(err)
	}
}
