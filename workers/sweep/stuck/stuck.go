// Package stuck frees message schedules that are stuck. When the broker has
// no room to store a look-up that is due, it keeps the schedule as being
// fired and never tries again until it is restarted, not even when there is
// room; publishing the same schedule once more makes it try.
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
	"arauto/workers/sweep/duequeue"
)

// Metrics tell of schedules that did not fire.
type Metrics struct {
	oldest      prometheus.Gauge
	republished prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_sweep_oldest_stuck_schedule_seconds",
			Help: "How long the most overdue parked look-up should have fired ago, 0 when none is overdue.",
		}),
		republished: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "arauto_sweep_republished_schedules_total",
			Help: "Parked look-ups that were overdue and were parked anew as they stood.",
		}),
	}
	r.MustRegister(m.oldest, m.republished)
	return m
}

// Options are what a watch needs.
type Options struct {
	JS      jetstream.JetStream
	Log     *zap.Logger
	Metrics *Metrics
	Now     func() time.Time
	After   time.Duration // How overdue a schedule is that counts as stuck.
}

// Republisher knows when each schedule is due. A stored schedule never changes, so
// each is read once when it is new and once more when it is overdue; between
// the two it costs 16 bytes. Its round must not run concurrently with itself;
// several watches may, because what they publish is guarded.
type Republisher struct {
	Options
	stream     jetstream.Stream
	read       uint64 // Up to where schedules have been read.
	due        duequeue.Queue
	reconnects uint64 // Of the connection when they were read.
}

// New finds the stream and returns a watch.
func New(ctx context.Context, o Options) (*Republisher, error) {
	stream, err := o.JS.Stream(ctx, subject.LookupRetries)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", subject.LookupRetries, err)
	}
	return &Republisher{Options: o, stream: stream}, nil
}

// Round reads what is new and publishes again what is overdue and still
// stored.
func (w *Republisher) Round(ctx context.Context) error {
	info, err := w.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.LookupRetries, err)
	}
	// Recreated: its numbers began anew. Or the broker was away: one that was
	// killed can bring back a schedule that had fired, and not fire it any more.
	reconnects := w.JS.Conn().Stats().Reconnects
	if info.State.LastSeq < w.read || reconnects != w.reconnects {
		w.read, w.due, w.reconnects = 0, duequeue.Queue{}, reconnects
	}
	w.read, err = stream.Each(ctx, w.stream, subject.AllScheduled, w.read, func(raw *jetstream.RawStreamMsg) (bool, error) {
		w.note(raw)
		return true, nil
	})
	return errors.Join(err, w.republishAll(ctx))
}

func (w *Republisher) note(raw *jetstream.RawStreamMsg) {
	due, err := dueAt(raw.Header)
	if err != nil {
		w.Log.Error("parked look-up has no due time", zap.Uint64("sequence", raw.Sequence), zap.Error(err))
		return
	}
	w.due.Add(raw.Sequence, due)
}

// dueAt reads a schedule's own header, which is what the broker goes by.
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

// republishAll looks at everything that should have fired. What it cannot publish
// stays for the next round.
func (w *Republisher) republishAll(ctx context.Context) error {
	var (
		oldest time.Duration
		failed error
	)
	for {
		sequence, due, ok := w.due.First()
		late := w.Now().Sub(due)
		if !ok || late < w.After {
			break
		}
		stuck, err := w.republish(ctx, sequence)
		if stuck {
			oldest = max(oldest, late)
		}
		if err != nil {
			failed = err
			if oldest == 0 {
				oldest = late // Unknown counts as stuck.
			}
			break // The broker refuses or is away; the others would fare no better.
		}
		w.due.Drop()
	}
	w.Metrics.oldest.Set(oldest.Seconds())
	return failed
}

// republish publishes a schedule as it stands, unless it has fired, been
// cancelled or been replaced. It reports whether it was still stored.
func (w *Republisher) republish(ctx context.Context, sequence uint64) (bool, error) {
	raw, err := w.stream.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read parked look-up %d: %w", sequence, err)
	}
	m := nats.NewMsg(raw.Subject)
	m.Data = raw.Data
	for name, values := range raw.Header {
		if copied(name) {
			m.Header[name] = values
		}
	}
	_, err = w.JS.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(sequence))
	if stream.IsConflict(err) {
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("publish parked look-up %d again: %w", sequence, err)
	}
	w.Metrics.republished.Inc()
	w.Log.Warn("parked look-up was overdue, parked anew", zap.Uint64("sequence", sequence))
	return true, nil
}

// copied reports whether a header belongs to the schedule. A message id would
// make the broker drop it as a duplicate, and a guard is of one write only.
func copied(name string) bool {
	return !strings.HasPrefix(name, "Nats-") || name == "Nats-Schedule" || name == "Nats-Schedule-Target"
}
