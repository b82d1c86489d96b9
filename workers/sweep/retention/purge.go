// Package retention purges processed notifications, and compacts the order logs of
// payments that have long been final. Each removal names the sequence below which it
// removes, so it may be repeated, and run by several copies at once.
package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
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
	Providers []string
	Metrics   *Metrics
	Log       *zap.Logger
	Now       func() time.Time
	Keep      time.Duration // How long processed notifications stay while the stream is not full.
	MinAge    time.Duration // Age of a notification from which on Judge checks it.
	Judge     Judge         // Nothing is purged above its result.
}

// Round judges and purges the notifications of every provider, also after another
// provider's purge failed.
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
	for _, provider := range n.Providers {
		if err := n.purge(ctx, provider, judged, old); err != nil {
			all = append(all, fmt.Errorf("purge notifications of %s: %w", provider, err))
		}
	}
	return errors.Join(all...)
}

// purge removes a provider's notifications that are acknowledged, judged and older than
// Keep. The ack floor is read first: it only rises. A notification that cannot be
// judged stays, with everything above it.
func (n *Notifications) purge(ctx context.Context, provider string, judgeBefore, old time.Time) error {
	floor, err := consume.AckFloor(ctx, n.JS, subject.Notifications, subject.LookupConsumer(provider))
	if err != nil {
		return err
	}
	judged, err := n.Judge(ctx, provider, floor, judgeBefore)
	return errors.Join(err, n.remove(ctx, provider, min(floor, judged), old))
}

// remove removes a provider's old notifications up to a sequence.
func (n *Notifications) remove(ctx context.Context, provider string, upTo uint64, old time.Time) error {
	filter := subject.NotificationsOf(provider)
	below, err := stream.Since(ctx, n.Stream, filter, old, upTo+1)
	if err != nil || below <= 1 {
		return err
	}
	first, err := stream.Next(ctx, n.Stream, filter, 0)
	if err != nil || first == nil || first.Sequence >= below {
		return err
	}
	if err := n.Stream.Purge(ctx, jetstream.WithPurgeSubject(filter), jetstream.WithPurgeSequence(below)); err != nil {
		return fmt.Errorf("purge below %d: %w", below, err)
	}
	n.Log.Info("notifications.purged", zap.String("provider", provider), zap.Uint64("below", below))
	n.Metrics.purged.WithLabelValues(provider).Set(float64(below))
	return nil
}

// Metrics counts what retention removed.
type Metrics struct {
	purged    *prometheus.GaugeVec
	compacted *prometheus.CounterVec
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
			Help: "Final payments that were compacted to their last event.",
		}, []string{"provider"}),
		filled: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_notifications_fill_ratio",
			Help: "How full NOTIFICATIONS is, from 0 to 1; at 1 webhooks get 503.",
		}),
	}
	r.MustRegister(m.purged, m.compacted, m.filled)
	for _, provider := range providers {
		m.compacted.WithLabelValues(provider)
	}
	return m
}
