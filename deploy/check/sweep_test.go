package check_test

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/process"
	"arauto/deploy/topology"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/chain"
	"arauto/workers/consume"
	"arauto/workers/deadletter"
	"arauto/workers/park"
	"arauto/workers/sweep/advice"
	"arauto/workers/sweep/overdue"
	"arauto/workers/sweep/silence"
	"arauto/workers/sweep/tidy"
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
func (f *flow) lookTwice(js jetstream.JetStream) *silence.Sweeper {
	f.t.Helper()
	lot, err := park.Open(f.ctx, js, f.tokens)
	f.must(err)
	chains, err := chain.Open(f.ctx, js)
	f.must(err)
	dead, err := deadletter.Open(f.ctx, js)
	f.must(err)
	silent, err := silence.New(f.ctx, silence.Options{
		JS: js, Tokens: f.tokens, Lot: lot, Chains: chains, Dead: dead, Log: zap.NewNop(),
		Metrics: silence.NewMetrics(prometheus.NewRegistry()),
		Now:     later, Jitter: func() float64 { return 0 }, Horizon: 2 * ahead,
	})
	f.must(err)
	f.must(silent.Round(f.ctx))
	watch, err := overdue.New(f.ctx, overdue.Options{
		JS: js, Log: zap.NewNop(), Metrics: overdue.NewMetrics(prometheus.NewRegistry()), Now: later, After: 0,
	})
	f.must(err)
	f.must(watch.Round(f.ctx))
	return silent
}

// removeOld purges notifications and compacts events.
func (f *flow) removeOld(js jetstream.JetStream, silent *silence.Sweeper) {
	f.t.Helper()
	notifications, err := js.Stream(f.ctx, subject.Notifications)
	f.must(err)
	orders, err := js.Stream(f.ctx, subject.Orders)
	f.must(err)
	removed := tidy.NewMetrics(prometheus.NewRegistry())
	finished := &tidy.Notifications{
		JS: js, Stream: notifications, Providers: []string{"sandbox"}, Metrics: removed,
		Now: later, Keep: time.Hour, Judge: silent.Orphans,
	}
	f.must(finished.Round(f.ctx))
	f.must((&tidy.Orders{Stream: orders, Metrics: removed, Now: later, After: time.Hour, Unreadable: silent.Unreadable}).Round(f.ctx))
}

// heed gives a dead letter to what the broker says that it gave up.
func (f *flow) heed(b *broker, js jetstream.JetStream) {
	f.t.Helper()
	_, all := b.as(inspector)
	body, err := json.Marshal(map[string]any{"stream": subject.Statuses, "consumer": subject.NormalizeConsumer, "stream_seq": 1, "deliveries": 1})
	f.must(err)
	_, err = all.Publish(f.ctx, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.STATUSES.normalize", body)
	f.must(err)

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(process.NewConsumerCollector(js, []process.ConsumerName{
		{Stream: subject.Advisories, Consumer: subject.AdvisoriesConsumer},
	}))
	_, err = metrics.Gather()
	f.must(err)

	dead, err := deadletter.Open(f.ctx, js)
	f.must(err)
	w := advice.New(advice.Options{
		JS: js, Tokens: f.tokens, Dead: dead, Log: zap.NewNop(), Metrics: advice.NewMetrics(prometheus.NewRegistry()), Now: time.Now,
	})
	f.consume(js, subject.Advisories, subject.AdvisoriesConsumer, w.Handle)
	f.letter("dead.ours.sweep.")
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for floor := uint64(0); floor == 0; { // Until the acknowledgement has gone out too.
		<-ticker.C
		floor, err = consume.AckFloor(f.ctx, js, subject.Advisories, subject.AdvisoriesConsumer)
		f.must(err)
	}
}
