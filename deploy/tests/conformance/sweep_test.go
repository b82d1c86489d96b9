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
	f.T.Helper()
	_, js := b.as("sweep")
	f.Must(topology.Await(f.Ctx, js, topology.Settings{Replicas: 1, Store: 2 << 30, Providers: []string{"sandbox"}}, zap.NewNop(),
		[]string{subject.Statuses, subject.Advisories, subject.Expectations, subject.Outcomes},
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
	f.T.Helper()
	silent := f.bench(js).Stale(later, 2*ahead)
	f.Must(silent.Round(f.Ctx))
	watch, err := stuck.New(f.Ctx, stuck.Options{
		JS: js, Log: zap.NewNop(), Metrics: stuck.NewMetrics(prometheus.NewRegistry()), Now: later, After: 0,
	})
	f.Must(err)
	f.Must(watch.Round(f.Ctx))
	return silent
}

// removeOld purges notifications, compacts events and removes the payment of plantOld.
func (f *flow) removeOld(js jetstream.JetStream, silent *stale.Sweeper) {
	f.T.Helper()
	notifications, err := js.Stream(f.Ctx, subject.Notifications)
	f.Must(err)
	orders, err := js.Stream(f.Ctx, subject.Orders)
	f.Must(err)
	removed := retention.NewMetrics(prometheus.NewRegistry())
	finished := &retention.Notifications{
		JS: js, Stream: notifications, Providers: []string{"sandbox"}, Metrics: removed, Log: zap.NewNop(),
		Now: later, Keep: time.Hour, Judge: silent.Unprocessed,
	}
	f.Must(finished.Round(f.Ctx))
	index, err := js.Stream(f.Ctx, subject.OrderPayments)
	f.Must(err)
	f.Must((&retention.Orders{
		Stream: orders, Index: index, Metrics: removed, Now: func() time.Time { return f.planted.Add(time.Hour) }, After: time.Hour, Remove: time.Hour, Unreadable: silent.Unreadable,
	}).Round(f.Ctx))
	f.Must((&retention.Orders{Stream: orders, Index: index, Metrics: removed, Now: later, After: time.Hour, Unreadable: silent.Unreadable}).Round(f.Ctx))
}

// heed gives a dead letter to what the broker says that it gave up.
func (f *flow) heed(b *broker, js jetstream.JetStream) {
	f.T.Helper()
	_, all := b.as(inspector)
	body, err := json.Marshal(map[string]any{"stream": subject.Statuses, "consumer": subject.NormalizeConsumer, "stream_seq": 1, "deliveries": 1})
	f.Must(err)
	_, err = all.Publish(f.Ctx, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.STATUSES.normalize", body)
	f.Must(err)

	f.Until("the broker tells the consumer of the message", func() bool { // A moment after it has stored it.
		c, err := all.Consumer(f.Ctx, subject.Advisories, subject.AdvisoriesConsumer)
		f.Must(err)
		return c.CachedInfo().NumPending > 0
	})
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(process.NewConsumerCollector(js, []process.ConsumerName{
		{Stream: subject.Advisories, Consumer: subject.AdvisoriesConsumer},
	}))
	_, err = metrics.Gather()
	f.Must(err)

	bench := f.bench(js)
	bench.Consume(subject.Advisories, subject.AdvisoriesConsumer, 2, bench.Advisories().Handle)
	f.letter("dead.ours.sweep.")
	f.Until("the acknowledgement has gone out too", func() bool {
		return bench.AckFloor(subject.Advisories, subject.AdvisoriesConsumer) > 0
	})
}
