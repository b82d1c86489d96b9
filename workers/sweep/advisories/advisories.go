// Package advisories is the second net: the broker says when it gives a message
// up, because it was delivered too often or somebody terminated it. Whatever
// was given up without a dead letter gets one here.
package advisories

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// unknown stands for what an advisory about a vanished message does not say.
const unknown = "unknown"

// Metrics counts what slipped through the first net.
type Metrics struct{ without prometheus.Counter }

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{without: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "arauto_advisories_without_dead_letter_total",
		Help: "Messages that the broker gave up and that had no dead letter. Each is a bug of ours; raise an alarm.",
	})}
	r.MustRegister(m.without)
	return m
}

// Options are what a worker needs.
type Options struct {
	JS          jetstream.JetStream
	Tokens      subject.Tokens
	DeadLetters *deadletter.Store
	Log         *zap.Logger
	Metrics     *Metrics
	Now         func() time.Time
}

// Worker handles advisories. Its handler may run concurrently, in this and
// other processes.
type Worker struct{ Options }

// New returns a worker.
func New(o Options) *Worker { return &Worker{o} }

// readable are the streams whose messages say which payment they are about.
// For another one the broker would not let this process read.
var readable = []string{subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders, subject.DeadLetters}

// advisory is what the broker says, as far as it is of use.
type advisory struct {
	Stream     string `json:"stream"`
	Consumer   string `json:"consumer"`
	Sequence   uint64 `json:"stream_seq"`
	Deliveries uint64 `json:"deliveries"`
	Reason     string `json:"reason"` // Of a termination.
}

// harmless reports whether nothing was given up. What leaves LOOKUP_RETRIES was
// acknowledged; but a broker that is killed forgets the last acknowledgements
// and keeps what they removed, and then says of each that an unacknowledged
// message was deleted.
func (a advisory) harmless(found original) bool {
	return found.gone && a.Stream == subject.LookupRetries && strings.Contains(a.Reason, "deleted")
}

// original is the message that was given up: where it is, and whose.
type original struct {
	unit    subject.Unit
	id      string // Of a letter about it alone.
	stands  uint64 // Notification that it stands for, 0 for none but its own.
	account string
	kind    order.Kind
	payment string
	order   string
	gone    bool // It is no longer stored.
}

// Handle handles one message of ADVISORIES.
func (w *Worker) Handle(ctx context.Context, m jetstream.Msg) error {
	var a advisory
	if err := json.Unmarshal(m.Data(), &a); err != nil || a.Stream == "" || a.Sequence == 0 {
		return w.deadLetter(ctx, m)
	}
	found, err := w.find(ctx, a)
	if err != nil {
		return fmt.Errorf("read what %s gave up: %w", a.Consumer, err)
	}
	if a.harmless(found) {
		w.Log.Info("nothing was given up", zap.String("stream", a.Stream), zap.Uint64("sequence", a.Sequence), zap.String("reason", a.Reason))
		return nil
	}
	has, err := w.hasDeadLetter(ctx, found)
	if err != nil || has {
		return err
	}
	cause := "the broker gave the message up after too many deliveries"
	if strings.Contains(m.Subject(), ".MSG_TERMINATED.") {
		cause = "the message was terminated without a dead letter"
	}
	id := found.id
	err = w.DeadLetters.Put(ctx, found.unit, record.DeadLetter{
		ID: id, Class: record.ClassOurs, Stage: record.StageSweep,
		Provider: found.unit.Provider, Account: found.account, Kind: found.kind, Payment: found.payment, Order: found.order,
		Cause: cause + ", consumer " + a.Consumer, Attempts: int(a.Deliveries), LastAnswer: record.NoAnswer,
		Stream: a.Stream, Sequence: a.Sequence, Covers: found.stands,
		Next: "find out why the worker could not finish it, mend that, then redrive", At: w.Now().UTC(),
	}, id, deadletter.SameID(id))
	if err != nil {
		return err
	}
	w.Metrics.without.Inc()
	w.Log.Error("given up without a dead letter, it has one now",
		zap.String("stream", a.Stream), zap.Uint64("sequence", a.Sequence), zap.String("consumer", a.Consumer))
	return nil
}

// deadLetter stores a letter about an advisory that does not decode: a message may have
// been given up, and nothing says which.
func (w *Worker) deadLetter(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read message metadata: %w", err)
	}
	id := deadletter.ID(subject.Advisories, meta.Sequence.Stream)
	u := subject.Unit{Provider: unknown, Account: unknown, Payment: unknown}
	letters, err := w.DeadLetters.Latest(ctx, u.DeadLetter(subject.Any, record.StageSweep))
	if err != nil || slices.ContainsFunc(letters, func(l deadletter.Entry) bool { return l.ID == id }) {
		return err
	}
	err = w.DeadLetters.Put(ctx, u, record.DeadLetter{
		ID: id, Class: record.ClassOurs, Stage: record.StageSweep, Provider: u.Provider, Account: u.Account, Payment: u.Payment,
		Cause: "stored advisory does not decode", LastAnswer: record.NoAnswer, Stream: subject.Advisories, Sequence: meta.Sequence.Stream,
		Next: "compare the versions of the broker and of this worker; the broker's log says what it gave up, then discard", At: w.Now().UTC(),
	}, id, deadletter.SameID(id))
	if err != nil {
		return err
	}
	w.Metrics.without.Inc()
	w.Log.Error("advisory does not decode", zap.String("subject", m.Subject()), zap.Uint64("sequence", meta.Sequence.Stream))
	return nil
}

// find reads the message that the advisory is about. One that is gone has no
// payment any more; its place and consumer are all that can be said.
func (w *Worker) find(ctx context.Context, a advisory) (original, error) {
	own := deadletter.ID(a.Stream, a.Sequence)
	none := original{
		unit:    subject.Unit{Provider: providerOf(a.Consumer), Account: unknown, Payment: unknown},
		id:      own,
		account: unknown, payment: unknown,
	}
	if !slices.Contains(readable, a.Stream) {
		return none, nil
	}
	stream, err := w.JS.Stream(ctx, a.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("open stream %s: %w", a.Stream, err)
	}
	raw, err := stream.GetMsg(ctx, a.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		none.gone = true
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("read message %d: %w", a.Sequence, err)
	}
	var body struct {
		Provider string     `json:"provider"`
		Account  string     `json:"account"`
		Kind     order.Kind `json:"kind"`
		Payment  string     `json:"payment"`
		Order    string     `json:"order"`
		For      uint64     `json:"covers"`
	}
	if err := json.Unmarshal(raw.Data, &body); err != nil || body.Provider == "" || body.Account == "" || body.Payment == "" {
		return named(none, raw.Subject), nil //nolint:nilerr // Its place is all that can be said of it, and the letter says that.
	}
	found := original{
		unit: w.Tokens.Unit(body.Provider, body.Account, body.Payment), id: own,
		account: body.Account, kind: body.Kind, payment: body.Payment, order: body.Order,
	}
	if body.For > 0 && a.Stream == subject.LookupRetries {
		found.stands = body.For
	}
	return found, nil
}

// named is o with the unit that a subject of ORDERS or STATUSES names. Another
// worker may have given the message a letter under that unit.
func named(o original, on string) original {
	unit, err := subject.ParseStatus(on)
	if err != nil {
		var event subject.Event
		event, err = subject.ParseEvent(on)
		unit = event.Unit
	}
	if err != nil {
		return o
	}
	o.unit = unit
	o.account, o.payment = o.unit.Account, o.unit.Payment
	return o
}

// providerOf reads the provider off the name of a consumer of its own.
func providerOf(consumer string) string {
	if provider, ok := subject.ParseLookupConsumer(consumer); ok {
		return provider
	}
	return unknown
}

// hasDeadLetter looks through the dead letters of the message's payment. What was
// redriven stands for a notification no more: the message in hand may be the
// look-up that was to do better.
func (w *Worker) hasDeadLetter(ctx context.Context, o original) (bool, error) {
	letters, err := w.DeadLetters.Latest(ctx, o.unit.DeadLetter(subject.Any, subject.Any))
	return slices.ContainsFunc(letters, func(l deadletter.Entry) bool {
		return l.ID == o.id || o.stands > 0 && l.CoversNotification(o.stands)
	}), err
}
