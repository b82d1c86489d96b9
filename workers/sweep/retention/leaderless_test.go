package retention_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/sweep/retention"
)

// listed is a stream of a cluster, whose list of consumers is as nats.go 1.55.0 hands it out.
type listed struct {
	jetstream.Stream
	all []*jetstream.ConsumerInfo
}

func (l listed) ListConsumers(context.Context) jetstream.ConsumerInfoLister { return lister(l.all) }

type lister []*jetstream.ConsumerInfo

func (l lister) Info() <-chan *jetstream.ConsumerInfo {
	all := make(chan *jetstream.ConsumerInfo, len(l))
	for _, c := range l {
		all <- c
	}
	close(all)
	return all
}

func (l lister) Err() error { return nil }

// The lists are what ListConsumers returns while a consumer has no leader: see consumersOf.
func TestWhatALeaderlessConsumerHasNotAcknowledgedIsNotCompacted(t *testing.T) {
	t.Parallel()
	other := &jetstream.ConsumerInfo{Name: "shop", Cluster: &jetstream.ClusterInfo{Leader: "n1"}} // It has acknowledged all.
	for name, all := range map[string][]*jetstream.ConsumerInfo{
		"left out":              {other, other},
		"listed without state":  {{Config: jetstream.ConsumerConfig{Durable: "billing"}, Cluster: &jetstream.ClusterInfo{}}, other},
		"listed without a name": {{Config: jetstream.ConsumerConfig{Durable: "billing"}}, other},
		"listed without leader": {{Name: "billing", Cluster: &jetstream.ClusterInfo{}}, other},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t)
			_, err := l.orders.CreateConsumer(l.Ctx, jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy})
			l.Must(err)
			l.observe(order.Payment, "p", order.Pending, order.Paid) // billing has read nothing.
			l.orders = listed{l.orders, all}
			round := retention.Orders{
				Stream: l.orders, Metrics: retention.NewMetrics(prometheus.NewRegistry()),
				Now: func() time.Time { return time.Now().Add(181 * day) }, After: 180 * day,
			}
			_ = round.Round(l.Ctx) // An error is as good: the next round comes in an hour.
			l.want("p", "[1 pending 2 paid]")
		})
	}
}

// The consumer of a provider that is no longer known is looked for in the list alone.
func TestWhatALeaderlessConsumerHasNotAcknowledgedIsNotPurged(t *testing.T) {
	t.Parallel()
	b := testbench.Start(t, "sandbox", "removed")
	store(b.Ctx, t, b.JS, "removed", 1)
	store(b.Ctx, t, b.JS, "sandbox", 1)
	acknowledge(b.Ctx, t, b.JS, "sandbox", 1, 0)
	round := notifications(b.Ctx, t, b.JS, 73*time.Hour, "sandbox")
	known := &jetstream.ConsumerInfo{Name: subject.LookupConsumer("sandbox"), Cluster: &jetstream.ClusterInfo{Leader: "n1"}}
	round.Stream = listed{round.Stream, []*jetstream.ConsumerInfo{known, known}}
	if err := round.Round(b.Ctx); err == nil {
		t.Error("the round has not failed")
	}
	if left := stored(b.Ctx, t, b.JS, "removed"); len(left) != 1 {
		t.Error("the notification that is not acknowledged was purged")
	}
}
