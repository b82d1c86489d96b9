package retention_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"arauto/schemas/order"
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

// A consumer that has no leader for 4 s is left out of the broker's list (nats-server 2.15.3,
// server/jetstream_cluster.go, jsClusteredConsumerListRequest: "missing"), which nats.go does
// not read: it asks for a second page by the number of those that it got, and gets the other
// one twice, without an error. A consumer all of whose servers are offline is listed without
// its state: zero, which looks like "nothing pending".
func TestWhatALeaderlessConsumerHasNotAcknowledgedIsNotCompacted(t *testing.T) {
	t.Parallel()
	other := &jetstream.ConsumerInfo{Name: "shop", Cluster: &jetstream.ClusterInfo{Leader: "n1"}} // It has acknowledged all.
	for name, all := range map[string][]*jetstream.ConsumerInfo{
		"left out":             {other, other},
		"listed without state": {{Config: jetstream.ConsumerConfig{Durable: "billing"}, Cluster: &jetstream.ClusterInfo{}}, other},
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
