package stream_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
)

// broker runs a broker with an empty stream on n.>, for an example, which has no
// testing.T.
func broker() (js jetstream.JetStream, s jetstream.Stream, stop func(), err error) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return nil, nil, nil, err
	}
	broker, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	broker.Start()
	broker.ReadyForConnections(time.Minute)
	conn, err := nats.Connect(broker.ClientURL())
	if err != nil {
		return nil, nil, nil, err
	}
	if js, err = jetstream.New(conn); err != nil {
		return nil, nil, nil, err
	}
	s, err = js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "NUMBERS", Subjects: []string{"n.>"}})
	return js, s, func() { conn.Close(); broker.Shutdown(); broker.WaitForShutdown(); _ = os.RemoveAll(dir) }, err
}

func ExampleEach() {
	ctx := context.Background()
	js, numbers, stop, err := broker()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	for _, on := range []string{"n.odd", "n.even", "n.odd"} {
		if _, err := js.Publish(ctx, on, nil); err != nil {
			fmt.Println(err)
		}
	}
	above, err := stream.Each(ctx, numbers, "n.odd", 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		fmt.Println(raw.Sequence)
		return true, nil
	})
	fmt.Println("go on above", above, err)
	// Output:
	// 1
	// 3
	// go on above 3 <nil>
}

func ExampleOldestAge() {
	ctx := context.Background()
	js, numbers, stop, err := broker()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	worker, err := js.CreateConsumer(ctx, "NUMBERS", jetstream.ConsumerConfig{Durable: "odd", FilterSubject: "n.odd"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, on := range []string{"n.even", "n.odd"} {
		age, err := stream.OldestAge(ctx, numbers, worker.CachedInfo())
		fmt.Println(age > 0, err)
		if _, err := js.Publish(ctx, on, nil); err != nil {
			fmt.Println(err)
		}
	}
	age, err := stream.OldestAge(ctx, numbers, worker.CachedInfo())
	fmt.Println(age > 0, err)
	// Output:
	// false <nil>
	// false <nil>
	// true <nil>
}

func ExampleSince() {
	ctx := context.Background()
	js, numbers, stop, err := broker()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	for range 3 {
		if _, err := js.Publish(ctx, "n.odd", nil); err != nil {
			fmt.Println(err)
		}
	}
	second, err := stream.Next(ctx, numbers, "n.odd", 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(stream.Since(ctx, numbers, second.Time, 4))
	// Output: 2 <nil>
}

// The counter is read, increased and appended, by two writers at once.
func ExampleRetryConflicts() {
	ctx := context.Background()
	js, numbers, stop, err := broker()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	increase := func() error {
		var last jetstream.RawStreamMsg
		raw, err := stream.Last(ctx, numbers, "n.count")
		if err != nil {
			return err
		}
		if raw != nil {
			last = *raw
		}
		count, _ := strconv.Atoi(string(last.Data)) // 0 for none.
		_, err = js.Publish(ctx, "n.count", []byte(strconv.Itoa(count+1)), jetstream.WithExpectLastSequencePerSubject(last.Sequence))
		return err
	}
	done := make(chan error)
	for range 2 {
		go func() { done <- stream.RetryConflicts(ctx, increase) }()
	}
	fmt.Println(<-done, <-done)
	last, err := stream.Last(ctx, numbers, "n.count")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(last.Data))
	// Output:
	// <nil> <nil>
	// 2
}
