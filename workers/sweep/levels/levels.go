// Package levels measures how full each stream is, how many look-ups are scheduled, and
// how many dead letters are open.
package levels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// measured are the streams whose state this role may read.
var measured = []string{
	subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders, subject.OrderPayments, subject.DeadLetters, subject.Advisories,
	subject.Expectations, subject.Outcomes,
}

// maxScheduled is how many scheduled look-ups a round reads: about a second's worth.
const maxScheduled = 5000

// other is the reason of a scheduled look-up that has none of causes.
const other = "other"

// classes are the classes of dead letters.
var classes = []record.Class{record.ClassOurs, record.ClassProvider, record.ClassData, record.ClassSubscriber}

// causes are the reasons that a scheduled look-up can have.
func causes() []string {
	all := []string{string(order.CauseRecheck), string(order.CauseConfirmation), string(order.CauseSweep), string(order.CauseOperator), string(order.CauseExpectation), other}
	for _, c := range record.Failures() {
		all = append(all, string(c))
	}
	return all
}

// Metrics are the levels. Each copy of this role measures them, so take the maximum.
type Metrics struct {
	fill      *prometheus.GaugeVec
	scheduled *prometheus.GaugeVec
	open      *prometheus.GaugeVec
}

// NewMetrics registers the metrics. They have no value before the first round.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		fill: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_stream_fill_ratio",
			Help: "How full a stream is, from 0 to 1. At 1 it refuses messages, but for ADVISORIES, which removes its oldest; from 0.8 of LOOKUP_RETRIES on, failed look-ups are dead-lettered at once.",
		}, []string{"stream"}),
		scheduled: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_scheduled_lookups",
			Help: "Scheduled look-ups by the reason why they wait, among the 5000 that were scheduled first.",
		}, []string{"cause"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "arauto_open_dead_letters",
			Help: "Open dead letters by class.",
		}, []string{"class"}),
	}
	r.MustRegister(m.fill, m.scheduled, m.open)
	return m
}

// Options are what a Gauge works with. All fields but Room are required.
type Options struct {
	JS          jetstream.JetStream
	DeadLetters *deadletter.Store
	Metrics     *Metrics
	Room        int64 // Bytes that LOOKUP_RETRIES may take, since its configuration has no bound; 0 if unknown.
}

// Gauge measures. Round must not run concurrently with itself.
type Gauge struct {
	Options
	streams map[string]jetstream.Stream
	letters map[deadletter.Name]standing // The open dead letters.
	created time.Time                    // Creation time of DEAD_LETTERS when letters was read.
	read    uint64                       // The last sequence of DEAD_LETTERS that was read.
}

type standing struct {
	class    record.Class
	sequence uint64
}

// New opens the streams and returns a Gauge.
func New(ctx context.Context, o Options) (*Gauge, error) {
	g := &Gauge{Options: o, streams: map[string]jetstream.Stream{}, letters: map[deadletter.Name]standing{}}
	for _, name := range measured {
		stream, err := o.JS.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("open stream %s: %w", name, err)
		}
		g.streams[name] = stream
	}
	return g, nil
}

// Round measures once. Levels that it fails to measure keep their last value.
func (g *Gauge) Round(ctx context.Context) error {
	return errors.Join(g.measureFill(ctx), g.countScheduled(ctx), g.countOpen(ctx))
}

// measureFill measures how full the streams are.
func (g *Gauge) measureFill(ctx context.Context) error {
	for _, name := range measured {
		info, err := g.streams[name].Info(ctx)
		if err != nil {
			return fmt.Errorf("read state of %s: %w", name, err)
		}
		room := info.Config.MaxBytes
		if name == subject.LookupRetries {
			room = g.Room
		}
		if room > 0 {
			g.Metrics.fill.WithLabelValues(name).Set(float64(info.State.Bytes) / float64(room))
		}
	}
	return nil
}

// countScheduled counts the scheduled look-ups. It may miss a look-up that fires meanwhile.
func (g *Gauge) countScheduled(ctx context.Context) error {
	known, counts, read := causes(), map[string]int{}, 0
	_, err := stream.Each(ctx, g.streams[subject.LookupRetries], subject.AllScheduled, 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		var p record.ScheduledLookUp
		if json.Unmarshal(raw.Data, &p) != nil || !slices.Contains(known, p.Reason) {
			p.Reason = other
		}
		counts[p.Reason]++
		read++
		return read < maxScheduled, nil
	})
	if err != nil {
		return fmt.Errorf("count scheduled look-ups: %w", err)
	}
	for _, cause := range known {
		g.Metrics.scheduled.WithLabelValues(cause).Set(float64(counts[cause]))
	}
	return nil
}

// countOpen reads the dead letters and markers that are new, and removes expired ones.
func (g *Gauge) countOpen(ctx context.Context) error {
	info, err := g.streams[subject.DeadLetters].Info(ctx)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", subject.DeadLetters, err)
	}
	if info.State.LastSeq < g.read || !info.Created.Equal(g.created) {
		g.read, g.created, g.letters = 0, info.Created, map[deadletter.Name]standing{}
	}
	err = g.DeadLetters.Each(ctx, subject.AllDeadLetters, g.read+1, func(l deadletter.Entry) error {
		g.read = l.Sequence
		id := l.Name()
		delete(g.letters, id)
		if l.State == record.Open {
			g.letters[id] = standing{l.Class, l.Sequence}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("count open dead letters: %w", err)
	}
	counts := map[record.Class]int{}
	for id, at := range g.letters {
		if at.sequence < info.State.FirstSeq {
			delete(g.letters, id)
			continue
		}
		counts[at.class]++
	}
	for _, class := range classes {
		g.Metrics.open.WithLabelValues(string(class)).Set(float64(counts[class]))
	}
	return nil
}
