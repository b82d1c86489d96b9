// Package stuck re-publishes message schedules that did not fire. When the broker
// has no room to store a due look-up, it keeps the schedule marked as firing and does not
// try again before it is restarted. Publishing the same schedule again makes it try.
//
// Source: nats-server 2.15.3, server/scheduler.go, markInflight. Before this package may
// go, check that TestScheduleThatFoundNoRoomFiresAfterItIsPublishedAgain fails in its first
// half, and what Round says of a reconnect.
package stuck

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/subject"
	"arauto/workers/internal/duequeue"
)

// Metrics are about schedules that did not fire.
type Metrics struct {
	oldest      prometheus.Gauge
	republished prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_sweep_oldest_stuck_schedule_seconds",
			Help: "How long the oldest stuck schedule is overdue, 0 when none is.",
		}),
		republished: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arauto_sweep_republished_schedules_total",
			Help: "Stuck schedules that were re-published.",
		}),
	}
	r.MustRegister(m.oldest, m.republished)
	return m
}

// Options are what a Republisher works with. All fields are required.
type Options struct {
	JS      jetstream.JetStream
	Log     *zap.Logger
	Metrics *Metrics
	Now     func() time.Time
	After   time.Duration // For how long a stuck schedule is overdue.
}

// Republisher re-publishes overdue schedules. It reads a schedule when it is new and when
// it is overdue; in between it takes 16 bytes. Several may run, since they publish with the
// expected last sequence, but Round must not run concurrently with itself.
type Republisher struct {
	Options
	stream     jetstream.Stream
	created    time.Time // Creation time of the stream when the schedules were read.
	read       uint64    // The last sequence that was read.
	due        duequeue.Queue
	reconnects uint64 // Of the connection, when the schedules were read.
}

// New opens the stream and returns a Republisher.
func New(ctx context.Context, o Options) (*Republisher, error) {
	stream, err := o.JS.Stream(ctx, subject.LookupRetries)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.LookupRetries, err)
	}
	return &Republisher{Options: o, stream: stream}, nil
}

// Round reads the new schedules and re-publishes the overdue ones.
func (r *Republisher) Round(ctx context.Context) error {
	info, err := r.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.LookupRetries, err)
	}
	// Read all again if the stream was recreated, or after a reconnect: a broker that was
	// killed can restore a schedule that had fired, and not fire it, because its index of
	// schedules is newer (nats-server 2.15.3, server/filestore.go,
	// recoverMsgSchedulingState). Before this may go, check that a start compares the index
	// with the messages below it.
	reconnects := r.JS.Conn().Stats().Reconnects
	if info.State.LastSeq < r.read || !info.Created.Equal(r.created) || reconnects != r.reconnects {
		r.created, r.read, r.due, r.reconnects = info.Created, 0, duequeue.Queue{}, reconnects
	}
	r.read, err = stream.Each(ctx, r.stream, subject.AllScheduled, r.read, func(raw *jetstream.RawStreamMsg) (bool, error) {
		r.note(raw)
		return true, nil
	})
	return errors.Join(err, r.republishAll(ctx))
}

func (r *Republisher) note(raw *jetstream.RawStreamMsg) {
	due, err := dueAt(raw.Header)
	if err != nil {
		r.Log.Error("schedule.unreadable", zap.Uint64("sequence", raw.Sequence), zap.Error(err))
		return
	}
	r.due.Add(raw.Sequence, due)
}

// dueAt reads the due time from the schedule's header, which the broker uses too.
func dueAt(h nats.Header) (time.Time, error) {
	at, ok := strings.CutPrefix(h.Get("Nats-Schedule"), "@at ")
	if !ok {
		return time.Time{}, errors.New("no schedule of the form @at")
	}
	due, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return time.Time{}, errors.New("its schedule is not a time")
	}
	return due, nil
}

// republishAll re-publishes the overdue schedules. A failed one stays for the next
// round.
func (r *Republisher) republishAll(ctx context.Context) error {
	var (
		oldest time.Duration
		failed error
		unread []uint64
	)
	defer func() {
		for _, sequence := range unread {
			r.due.Add(sequence, r.Now())
		}
	}()
	for {
		sequence, due, ok := r.due.First()
		late := r.Now().Sub(due)
		if !ok || late < r.After {
			break
		}
		stuck, err := r.republish(ctx, sequence)
		if errors.Is(err, stream.ErrUnread) { // It is read again in the next round.
			r.due.Drop()
			unread, failed = append(unread, sequence), err
			continue
		}
		if stuck {
			oldest = max(oldest, late)
		}
		if err != nil {
			failed = err
			if oldest == 0 {
				oldest = late // The failed publish does not tell whether the schedule is still stored.
			}
			break // The broker would refuse the others too.
		}
		r.due.Drop()
	}
	r.Metrics.oldest.Set(oldest.Seconds())
	return failed
}

// republish publishes a schedule as it stands, unless it has fired, been canceled or been
// replaced. stuck reports whether it was still stored.
func (r *Republisher) republish(ctx context.Context, sequence uint64) (stuck bool, err error) {
	raw, err := stream.At(ctx, r.stream, subject.AllScheduled, sequence)
	if err != nil || raw == nil {
		return false, err
	}
	m := nats.NewMsg(raw.Subject)
	m.Data = raw.Data
	for name, values := range raw.Header {
		if copied(name) {
			m.Header[name] = values
		}
	}
	_, err = r.JS.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(sequence))
	if stream.IsConflict(err) {
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("re-publish scheduled look-up %d: %w", sequence, err)
	}
	r.Metrics.republished.Inc()
	r.Log.Warn("schedule.republished", zap.Uint64("sequence", sequence))
	return true, nil
}

// copied reports whether a header is copied to the re-published schedule. The message id is
// not, because the broker would drop the schedule as a duplicate; the expected sequence is
// not, because it belongs to one write.
func copied(name string) bool {
	return !strings.HasPrefix(name, "Nats-") || name == "Nats-Schedule" || name == "Nats-Schedule-Target"
}
