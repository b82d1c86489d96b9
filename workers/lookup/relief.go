package lookup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"arauto/deploy/runtime/topology"
	"arauto/deploy/runtime/wait"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/retry"
)

const (
	// reliefEvery is how often a worker checks whether NOTIFICATIONS fills while its provider
	// is down. A guess: a hundredth of the time in which the stream can fill.
	reliefEvery = 5 * time.Second
	// reliefShare is how full NOTIFICATIONS is when they are parked. sweep removes finished
	// ones whatever their age at 60 percent.
	reliefShare = 0.4
	// reliefBatch is how many notifications are pulled at a time, and reliefWriters how many
	// of them are parked at once. Guesses: a batch takes less than the ack wait.
	reliefBatch, reliefWriters = 256, 32
	// reliefDelay is over how long the parked look-ups are spread. A guess.
	reliefDelay = 10 * time.Minute
)

// Relief parks the notifications of a provider whose circuits are open while NOTIFICATIONS is
// filling. What is not acknowledged cannot be removed, nor what is newer of any other
// provider. So a look-up is scheduled for each notification, and it is acknowledged.
type Relief struct {
	Worker   *Worker
	Stream   jetstream.Stream   // NOTIFICATIONS.
	Consumer jetstream.Consumer // The provider's consumer of it.
}

// Run runs a round every five seconds until ctx ends.
func (r *Relief) Run(ctx context.Context) error {
	for wait.For(ctx, reliefEvery) {
		if err := r.Round(ctx); err != nil && ctx.Err() == nil {
			r.Worker.Log.Error("relief.failed", zap.String("provider", r.Worker.Provider.Name), zap.Error(err))
		}
	}
	return nil
}

// Round parks what is pending if no worker pulls because the provider is down, and
// NOTIFICATIONS fills.
func (r *Relief) Round(ctx context.Context) error {
	stream, err := r.Stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.Notifications, err)
	}
	if float64(stream.State.Bytes) < reliefShare*float64(stream.Config.MaxBytes) {
		return nil
	}
	if !r.stopped() {
		return nil
	}
	parked, err := r.drain(ctx)
	if parked > 0 {
		r.Worker.Log.Warn("notifications.parked", zap.String("provider", r.Worker.Provider.Name), zap.Int("parked", parked))
	}
	return err
}

// stopped reports whether the circuits of all hosts of the provider are open.
func (r *Relief) stopped() bool { return r.Worker.Outage.Room(2) < 2 }

// drain parks notifications until none is pending, one has failed, or a circuit closes.
func (r *Relief) drain(ctx context.Context) (parked int, err error) {
	synced := consume.Synced{Stream: r.Stream}
	for r.stopped() {
		batch, err := r.Consumer.Fetch(reliefBatch, jetstream.FetchMaxWait(topology.AckWait/9))
		if err != nil {
			return parked, fmt.Errorf("pull notifications: %w", err)
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(reliefWriters)
		count := 0
		var unsynced error
		for m := range batch.Messages() {
			count++
			if unsynced == nil {
				unsynced = synced.Await(ctx, m)
			}
			if unsynced != nil { // It is redelivered after the ack wait, if it exists.
				continue
			}
			group.Go(func() error {
				if err := r.Worker.park(ctx, m); err != nil {
					return err
				}
				if err := m.DoubleAck(ctx); err != nil {
					return fmt.Errorf("ack notification: %w", err)
				}
				return nil
			})
		}
		if err := errors.Join(group.Wait(), unsynced, batch.Error()); err != nil || count == 0 {
			return parked, err
		}
		parked += count
	}
	return parked, nil
}

// park schedules a look-up that covers a notification. Where there is no look-up to make,
// the notification is handled, because that needs no provider.
func (w *Worker) park(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read message metadata: %w", err)
	}
	var n record.Notification
	if json.Unmarshal(m.Data(), &n) != nil || n.Provider != w.Provider.Name || n.Unknown != "" || w.hasNoLookUp(&task{ScheduledLookUp: lookUpFor(n, meta.Sequence.Stream)}) {
		return w.HandleNotification(ctx, m)
	}
	if err := w.Retries.CheckLimit(ctx, retry.LimitForAll); err != nil {
		return err
	}
	p := lookUpFor(n, meta.Sequence.Stream)
	p.NotificationsCreated, p.Reason = w.Observations.Created(), string(record.Stopped)
	p.DueAt = w.Now().Add(time.Duration(w.Jitter() * float64(reliefDelay))).UTC()
	return w.Retries.Schedule(ctx, retry.Deferred, p)
}
