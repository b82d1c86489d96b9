// Package retention removes what has been of use: notifications that are finished,
// and the early events of payments that have long been final. Every removal
// names the sequence below which it goes, so doing it twice, or twice at once,
// removes no more.
package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
)

// fullShare is how full NOTIFICATIONS is when finished notifications go at once.
const fullShare = 0.6

// Judge looks at a provider's notifications up to floor that were stored
// before a time, and returns up to where it has seen them all, with an error too.
type Judge func(ctx context.Context, provider string, floor uint64, before time.Time) (uint64, error)

// Notifications removes notifications.
type Notifications struct {
	JS        jetstream.JetStream
	Stream    jetstream.Stream
	Providers []string
	Metrics   *Metrics
	Now       func() time.Time
	Keep      time.Duration // How long finished notifications stay where there is room.
	MinAge    time.Duration // How old a notification is before it is judged.
	Judge     Judge         // Has the last word before a notification goes.
}

// Round judges and purges the notifications of every provider. One that fails
// does not keep the others from it.
func (n *Notifications) Round(ctx context.Context) error {
	info, err := n.Stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Notifications, err)
	}
	fill := float64(info.State.Bytes) / float64(max(info.Config.MaxBytes, 1))
	n.Metrics.filled.Set(fill)
	now := n.Now()
	settled, old := now.Add(-n.MinAge), now.Add(-n.Keep)
	if fill > fullShare {
		settled, old = now, now
	}
	var all []error
	for _, provider := range n.Providers {
		if err := n.purge(ctx, provider, settled, old); err != nil {
			all = append(all, fmt.Errorf("purge notifications of %s: %w", provider, err))
		}
	}
	return errors.Join(all...)
}

// purge removes a provider's notifications that are acknowledged, judged and
// old. The floor is read first: it only rises, so what lies below it stays
// finished whatever happens meanwhile. What could not be judged keeps itself and
// what lies behind it, and nothing else.
func (n *Notifications) purge(ctx context.Context, provider string, settled, old time.Time) error {
	floor, err := consume.AckFloor(ctx, n.JS, subject.Notifications, subject.LookupConsumer(provider))
	if err != nil {
		return err
	}
	judged, err := n.Judge(ctx, provider, floor, settled)
	return errors.Join(err, n.remove(ctx, provider, min(floor, judged), old))
}

// remove removes a provider's notifications up to a sequence that are old.
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
	n.Metrics.purged.WithLabelValues(provider).Set(float64(below))
	return nil
}
