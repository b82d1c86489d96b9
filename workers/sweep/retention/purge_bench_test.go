package retention_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/subject"
)

// BenchmarkRoundInAFullStore fills NOTIFICATIONS with 256 MiB of a provider's finished
// notifications, and has a round remove what one more provider has finished. It reports how
// long a webhook's notification waits at most meanwhile, beside a purge by subject of as
// many.
func BenchmarkRoundInAFullStore(b *testing.B) {
	for name, remove := range map[string]func(b *testing.B, broker *testbench.Broker){
		"sequence": func(b *testing.B, broker *testbench.Broker) {
			b.Helper()
			task := notifications(broker.Ctx, b, broker.JS, 73*time.Hour, "sandbox")
			task.Judge = everything
			testbench.Must(b, task.Round(broker.Ctx))
		},
		"subject": func(b *testing.B, broker *testbench.Broker) {
			b.Helper()
			testbench.Must(b, broker.Stream(subject.Notifications).Purge(broker.Ctx,
				jetstream.WithPurgeSubject(subject.NotificationsOf("sandbox")), jetstream.WithPurgeSequence(finished+1)))
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				broker := filled(b)
				stop, worst := make(chan struct{}), make(chan time.Duration)
				go func() { worst <- slowest(broker, stop) }()
				b.StartTimer()
				remove(b, broker)
				b.StopTimer()
				close(stop)
				b.ReportMetric(float64((<-worst).Microseconds())/1000, "slowest-publish-ms")
				b.StartTimer()
			}
		})
	}
}

// finished is how many notifications of the full store are acknowledged.
const finished = 1000

// filled is a broker with 256 MiB of notifications, of which the first are acknowledged.
func filled(b *testing.B) *testbench.Broker {
	b.Helper()
	broker := testbench.Start(b, "sandbox")
	body := make([]byte, 4<<10)
	for i := range 64 << 10 {
		_, err := broker.JS.PublishAsync(fmt.Sprintf("notifications.sandbox.default.p%d", i), body)
		testbench.Must(b, err)
		if i%1000 == 0 {
			<-broker.JS.PublishAsyncComplete()
		}
	}
	<-broker.JS.PublishAsyncComplete()
	all := make([]int, finished)
	for i := range all {
		all[i] = i
	}
	acknowledge(broker.Ctx, b, broker.JS, "sandbox", finished, all...)
	return broker
}

// slowest publishes one message after the other until stop is closed, and returns the
// longest time that one took.
func slowest(broker *testbench.Broker, stop <-chan struct{}) (longest time.Duration) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return longest
		default:
		}
		began := time.Now()
		broker.Publish(fmt.Sprintf("notifications.sandbox.default.q%d", i), struct{}{})
		longest = max(longest, time.Since(began))
	}
}
