package reconcile_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/tests/reconcile"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// witness copies NOTIFICATIONS while they are stored, because sweep removes
// those that are finished when the stream is crowded, and the ledger is to
// account for them too.
type witness struct {
	js jetstream.JetStream

	mu     sync.Mutex
	copies []reconcile.Stored[record.Notification]
	last   uint64
	lost   []string // What was removed before it was copied.
	batch  int      // How many came in a batch.
}

// watch copies until ctx ends, through every outage of the broker.
func (w *witness) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if err := w.follow(ctx); err != nil {
			pause(ctx, 20*time.Millisecond) // The broker is away.
		}
	}
}

// follow copies with one consumer until it fails or leaves something out.
func (w *witness) follow(ctx context.Context) error {
	opening, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	from := w.copied() + 1
	consumer, err := w.js.CreateConsumer(opening, subject.Notifications, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 10 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("open copying consumer: %w", err)
	}
	for ctx.Err() == nil {
		batch, err := consumer.Fetch(500, jetstream.FetchMaxWait(200*time.Millisecond))
		if err != nil {
			return fmt.Errorf("copy notifications: %w", err)
		}
		for m := range batch.Messages() {
			if !w.take(m) {
				return fmt.Errorf("a message got lost on its way behind %d", w.copied())
			}
		}
		if err := batch.Error(); err != nil {
			return fmt.Errorf("copy notifications: %w", err)
		}
		if err := alive(ctx, consumer); err != nil {
			return err
		}
	}
	return nil
}

// alive asks after a consumer, because one that is gone is only silent.
func alive(ctx context.Context, consumer jetstream.Consumer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := consumer.Info(ctx); err != nil {
		return fmt.Errorf("copy notifications: %w", err)
	}
	return nil
}

// take keeps one message. It reports false for one that does not follow the
// last; where that is the first that the broker sent, what is between was
// removed.
func (w *witness) take(m jetstream.Msg) bool {
	meta, err := m.Metadata()
	if err != nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	sequence := meta.Sequence.Stream
	if sequence != w.last+1 {
		if meta.Sequence.Consumer != 1 {
			return false
		}
		w.lost = append(w.lost, fmt.Sprintf("%d to %d", w.last+1, sequence-1))
	}
	one := reconcile.Stored[record.Notification]{Sequence: sequence, At: meta.Timestamp}
	if err := json.Unmarshal(m.Data(), &one.Record); err != nil {
		w.lost = append(w.lost, fmt.Sprintf("%d, which does not decode", sequence))
	}
	w.copies, w.last = append(w.copies, one), sequence
	if m.Headers().Get(server.JSBatchId) != "" {
		w.batch++
	}
	return true
}

// together is how many were stored as a part of a batch.
func (w *witness) together() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.batch
}

func (w *witness) copied() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// upToDate waits until everything that is stored now has been copied. It
// reports false when ctx ends first.
func (w *witness) upToDate(ctx context.Context) bool {
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, 2*time.Second)
		stream, err := w.js.Stream(asking, subject.Notifications)
		cancel()
		if err == nil && w.copied() >= stream.CachedInfo().State.LastSeq {
			return true
		}
		pause(ctx, 20*time.Millisecond)
	}
	return false
}

// evidence is every notification that was ever stored, and what is missing.
func (w *witness) evidence() (copies []reconcile.Stored[record.Notification], lost []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.copies), slices.Clone(w.lost)
}
