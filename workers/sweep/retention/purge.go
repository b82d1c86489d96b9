// Package retention purges processed notifications, and compacts the order logs of
// payments that have not moved for long. Each removal names the sequence below which it
// removes, so it may be repeated, and run by several copies at once.
package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/subject"
)

// fullShare is how full NOTIFICATIONS is when processed notifications are purged
// whatever their age. A guess: it leaves room for a long outage of a provider.
const fullShare = 0.6

// Judge checks the acknowledged notifications of a provider, up to floor, that were
// stored before a time. It returns the sequence up to which all of them have an
// outcome, with an error too.
type Judge func(ctx context.Context, provider string, floor uint64, before time.Time) (uint64, error)

// Notifications purges notifications.
type Notifications struct {
	JS        jetstream.JetStream
	Stream    jetstream.Stream
	Providers []string // Every provider that a gateway may know, with an account or not.
	Metrics   *Metrics
	Log       *zap.Logger
	Now       func() time.Time
	Keep      time.Duration // How long processed notifications stay while the stream is not full.
	MinAge    time.Duration // Judge checks notifications from this age on.
	Judge     Judge         // Checks notifications; nothing is purged above the sequence that it returns.
}

// Round judges the notifications of every provider and purges those that all providers
// have finished, also after another provider's judge failed.
//
// It purges by sequence alone. nats-server 2.15.3 (server/filestore.go, PurgeEx) walks
// every block under the stream's lock for a purge by subject: 1.7 to 2.6 s at 1.2 GiB
// (measured), in which every webhook gets 503. Before it may go by subject again, check
// that PurgeEx does not hold the lock for the walk. The purge stays below every consumer's
// ack floor, because of nats-server issue 5727.
func (n *Notifications) Round(ctx context.Context) error {
	info, err := n.Stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Notifications, err)
	}
	fill := float64(info.State.Bytes) / float64(max(info.Config.MaxBytes, 1))
	n.Metrics.filled.Set(fill)
	now := n.Now()
	judged, old := now.Add(-n.MinAge), now.Add(-n.Keep)
	if fill > fullShare {
		judged, old = now, now
	}
	var all []error
	least, finished := info.State.LastSeq, map[string]uint64{}
	for _, provider := range n.Providers {
		upTo, err := n.finished(ctx, provider, info, judged)
		if err != nil {
			all = append(all, fmt.Errorf("judge notifications of %s: %w", provider, err))
		}
		finished[provider], least = upTo, min(least, upTo)
	}
	others, err := n.othersFinished(ctx, info.State.LastSeq)
	if err != nil {
		return errors.Join(append(all, err)...)
	}
	least = min(least, others)
	all = append(all, n.remove(ctx, "", least, old))
	if fill > fullShare { // The last resort: a provider that is paused or dead must not fill the stream for all.
		for provider, upTo := range finished {
			if upTo > least {
				all = append(all, n.remove(ctx, provider, upTo, old))
			}
		}
	}
	return errors.Join(all...)
}

// othersFinished is the sequence up to which the consumers of providers that are no longer
// known have acknowledged everything. Such a consumer stays until it is empty, and then holds
// nothing up: last is the stream's last sequence, read before.
func (n *Notifications) othersFinished(ctx context.Context, last uint64) (uint64, error) {
	consumers, err := consumersOf(ctx, n.Stream, subject.Notifications)
	if err != nil {
		return 0, err
	}
	floor := last
	for _, c := range consumers {
		provider, _ := subject.ParseLookupConsumer(c.Name)
		if slices.Contains(n.Providers, provider) {
			continue
		}
		none := false
		if c.NumPending == 0 && c.NumAckPending == 0 {
			if none, err = n.noneAbove(ctx, cmp.Or(c.Config.FilterSubject, stream.All), c.AckFloor.Stream); err != nil {
				return 0, err
			}
		}
		if !none {
			floor = min(floor, c.AckFloor.Stream)
		}
	}
	return floor, nil
}

// finished returns the sequence up to which a provider's notifications are acknowledged and
// judged, with an error too. The ack floor is read first: it only rises. A notification
// that cannot be judged stays, with everything above it.
//
// A provider without notifications above that has finished all that the stream had when its
// state was read. So has a provider without a consumer and without notifications. If it has
// any, they wait for the consumer, which then gets all of them: that is an error, too.
func (n *Notifications) finished(ctx context.Context, provider string, before *jetstream.StreamInfo, judgeBefore time.Time) (uint64, error) {
	consumer, err := n.JS.Consumer(ctx, subject.Notifications, subject.LookupConsumer(provider))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return n.unconsumed(ctx, provider, before.State.LastSeq)
	}
	if err != nil {
		return 0, fmt.Errorf("read consumer of %s: %w", provider, err)
	}
	state := consumer.CachedInfo()
	floor := state.AckFloor.Stream
	judged, err := n.Judge(ctx, provider, floor, judgeBefore)
	if err != nil || judged < floor || state.NumPending > 0 || state.NumAckPending > 0 {
		return min(floor, judged), err
	}
	if none, err := n.noneAbove(ctx, subject.NotificationsOf(provider), floor); err != nil || !none {
		return floor, err
	}
	return max(floor, before.State.LastSeq), nil
}

// unconsumed is finished of a provider without a consumer: the sequence in front of its first
// notification, or the stream's last one, read before. It does not ask whether the provider
// has an account, because a gateway may know of one before this process does.
func (n *Notifications) unconsumed(ctx context.Context, provider string, last uint64) (uint64, error) {
	first, err := stream.NextOrNone(ctx, n.Stream, subject.NotificationsOf(provider), 0)
	if err != nil {
		return 0, err
	}
	if first == nil || first.Sequence > last {
		return last, nil
	}
	return first.Sequence - 1, fmt.Errorf("they wait from %d on, because consumer %s is missing: run arauto topology apply with the configuration that has the account",
		first.Sequence, subject.LookupConsumer(provider))
}

// noneAbove reports whether a consumer that has nothing pending has acknowledged the last
// notification on its filter. A consumer learns of what is stored a moment later, on a
// single server too (nats-server 2.15.3, server/stream.go, signalConsumersLoop), and in a
// cluster from its leader's own replica, so the last one is read from the stream.
func (n *Notifications) noneAbove(ctx context.Context, filter string, floor uint64) (bool, error) {
	last, err := stream.Last(ctx, n.Stream, filter)
	return err == nil && (last == nil || last.Sequence <= floor), err
}

// remove removes the old notifications of a provider, or of all if it is empty, up to a
// sequence.
func (n *Notifications) remove(ctx context.Context, provider string, upTo uint64, old time.Time) error {
	filter, options := stream.All, []jetstream.StreamPurgeOpt{}
	if provider != "" {
		filter = subject.NotificationsOf(provider)
		options = append(options, jetstream.WithPurgeSubject(filter))
	}
	below, err := stream.Since(ctx, n.Stream, old, upTo+1)
	if err != nil || below <= 1 {
		return err
	}
	first, err := stream.Next(ctx, n.Stream, filter, 0)
	if err != nil || first == nil || first.Sequence >= below {
		return err
	}
	if err := n.Stream.Purge(ctx, append(options, jetstream.WithPurgeSequence(below))...); err != nil {
		return fmt.Errorf("purge notifications below %d: %w", below, err)
	}
	n.Log.Info("notifications.purged", zap.String("provider", provider), zap.Uint64("below", below))
	for _, name := range n.Providers {
		if provider == "" || provider == name {
			n.Metrics.purged.WithLabelValues(name).Set(float64(below))
		}
	}
	return nil
}

// Metrics counts what retention removed.
type Metrics struct {
	purged    *prometheus.GaugeVec
	compacted *prometheus.CounterVec
	removed   *prometheus.CounterVec
	filled    prometheus.Gauge
}

// NewMetrics registers the metrics. The counters of the providers are present from the
// start.
func NewMetrics(r prometheus.Registerer, providers ...string) *Metrics {
	m := &Metrics{
		purged: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_sweep_purged_below_sequence",
			Help: "Sequence of NOTIFICATIONS below which a provider's processed notifications were last purged.",
		}, []string{"provider"}),
		compacted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_sweep_compacted_payments_total",
			Help: "Payments that were compacted to their last event.",
		}, []string{"provider"}),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "arauto_sweep_removed_payments_total",
			Help: "Payments that were removed from ORDERS.",
		}, []string{"provider"}),
		filled: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_notifications_fill_ratio",
			Help: "How full NOTIFICATIONS is, from 0 to 1; at 1 webhooks get 503.",
		}),
	}
	r.MustRegister(m.purged, m.compacted, m.removed, m.filled)
	for _, provider := range providers {
		m.compacted.WithLabelValues(provider)
		m.removed.WithLabelValues(provider)
	}
	return m
}
