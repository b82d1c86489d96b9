package conformance_test

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/process"
	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/sweep/retention"
	"arauto/workers/sweep/stale"
	"arauto/workers/sweep/stuck"
)

// ahead is how far the sweeper's clock is turned: everything that play has
// left behind is old then.
const ahead = 200 * 24 * time.Hour

func later() time.Time { return time.Now().Add(ahead) }

// sweep lets the sweeper do each of its tasks once on what play has left
// behind: the payment is silent, then final and old, and something was given
// up.
func (f *flow) sweep(b *broker) {
	f.t.Helper()
	_, js := b.as("sweep")
	f.must(topology.Await(f.ctx, js, topology.Settings{Replicas: 1, Store: 2 << 30, Providers: []string{"sandbox"}}, zap.NewNop(),
		[]string{subject.Statuses, subject.Advisories},
		[]string{subject.LookupConsumer("sandbox"), subject.LookupDueConsumer("sandbox"), subject.AdvisoriesConsumer},
		func(context.Context) error { return nil }))
	silent := f.lookTwice(js)
	f.bank.say("refunded")
	f.notify("")
	f.event(order.Refunded)
	f.removeOld(js, silent)
	f.heed(b, js)
}

// lookTwice parks a look-up of the silent payment and then finds it stuck.
func (f *flow) lookTwice(js jetstream.JetStream) *stale.Sweeper {
	f.t.Helper()
	silent := f.bench(js).Stale(later, 2*ahead)
	f.must(silent.Round(f.ctx))
	watch, err := stuck.New(f.ctx, stuck.Options{
		JS: js, Log: zap.NewNop(), Metrics: stuck.NewMetrics(prometheus.NewRegistry()), Now: later, After: 0,
	})
	f.must(err)
	f.must(watch.Round(f.ctx))
	return silent
}

// removeOld purges notifications and compacts events.
func (f *flow) removeOld(js jetstream.JetStream, silent *stale.Sweeper) {
	f.t.Helper()
	notifications, err := js.Stream(f.ctx, subject.Notifications)
	f.must(err)
	orders, err := js.Stream(f.ctx, subject.Orders)
	f.must(err)
	removed := retention.NewMetrics(prometheus.NewRegistry())
	finished := &retention.Notifications{
		JS: js, Stream: notifications, Providers: []string{"sandbox"}, Metrics: removed, Log: zap.NewNop(),
		Now: later, Keep: time.Hour, Judge: silent.Unprocessed,
	}
	f.must(finished.Round(f.ctx))
	f.must((&retention.Orders{Stream: orders, Metrics: removed, Now: later, After: time.Hour, Unreadable: silent.Unreadable}).Round(f.ctx))
}

// heed gives a dead letter to what the broker says that it gave up.
func (f *flow) heed(b *broker, js jetstream.JetStream) {
	f.t.Helper()
	_, all := b.as(inspector)
	body, err := json.Marshal(map[string]any{"stream": subject.Statuses, "consumer": subject.NormalizeConsumer, "stream_seq": 1, "deliveries": 1})
	f.must(err)
	_, err = all.Publish(f.ctx, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.STATUSES.normalize", body)
	f.must(err)

	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for pending := uint64(0); pending == 0; <-ticker.C { // The broker tells the consumer of the message a moment after it has stored it.
		c, err := all.Consumer(f.ctx, subject.Advisories, subject.AdvisoriesConsumer)
		f.must(err)
		pending = c.CachedInfo().NumPending
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(process.NewConsumerCollector(js, []process.ConsumerName{
		{Stream: subject.Advisories, Consumer: subject.AdvisoriesConsumer},
	}))
	_, err = metrics.Gather()
	f.must(err)

	bench := f.bench(js)
	bench.Consume(subject.Advisories, subject.AdvisoriesConsumer, 2, bench.Advisories().Handle)
	f.letter("dead.ours.sweep.")
	for bench.AckFloor(subject.Advisories, subject.AdvisoriesConsumer) == 0 { // Until the acknowledgement has gone out too.
		<-ticker.C
	}
}
