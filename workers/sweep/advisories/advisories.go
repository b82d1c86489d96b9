// Package advisories handles the broker's advisories about messages that it gave up:
// delivered too often, or terminated. A message that has no dead letter by then gets
// one here.
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

	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
)

// unknown is the provider, account and payment in a dead letter about a message that
// is no longer stored.
const unknown = "unknown"

// Metrics counts the dead letters that only this package wrote.
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

// Options are what a Worker works with. All fields are required.
type Options struct {
	JS          jetstream.JetStream
	Tokens      subject.Tokens
	DeadLetters *deadletter.Store
	Log         *zap.Logger
	Metrics     *Metrics
	Now         func() time.Time
}

// Worker handles advisories. Its handler may run concurrently, in this and other
// processes.
type Worker struct{ Options }

// New returns a Worker.
func New(o Options) *Worker { return &Worker{o} }

// readable are the streams that this role may read and whose messages name a
// payment.
var readable = []string{subject.Notifications, subject.LookupRetries, subject.Statuses, subject.Orders, subject.DeadLetters}

// advisory is the part of the broker's advisory that is needed here.
type advisory struct {
	Stream     string `json:"stream"`
	Consumer   string `json:"consumer"`
	Sequence   uint64 `json:"stream_seq"`
	Deliveries uint64 `json:"deliveries"`
	Reason     string `json:"reason"` // Of a termination.
}

// harmless reports whether the advisory is about a message of LOOKUP_RETRIES that was
// acknowledged. nats-server 2.15.3 stores acknowledgements up to 100 ms later
// (server/filestore.go, consumerFileStore, flushLoop). After a kill it reports the messages
// that the lost ones had removed as deleted without one (server/consumer.go, getNextMsg).
// Before this may go, check that it stores an acknowledgement before it removes.
func (a advisory) harmless(found original) bool {
	return found.gone && a.Stream == subject.LookupRetries && strings.Contains(a.Reason, "deleted")
}

// original is the message that the broker gave up.
type original struct {
	unit    subject.Unit
	id      string               // Of a dead letter about this message.
	created map[string]time.Time // Of the streams that id and covers name.
	covers  uint64               // Of a look-up: the highest notification that it answers for. 0 for another message.
	account string
	kind    order.Kind
	payment string
	order   string
	gone    bool // The message is no longer stored.
}

// Handle handles one message of ADVISORIES. A nil error means that the message which
// the broker gave up has a dead letter.
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
		w.Log.Info("advisory.ignored", zap.String("stream", a.Stream), zap.Uint64("sequence", a.Sequence), zap.String("reason", a.Reason))
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
	if err := w.put(ctx, found.unit, record.DeadLetter{
		ID: found.id, Account: found.account, Kind: found.kind, Payment: found.payment, Order: found.order,
		Cause: cause + ", consumer " + a.Consumer, Attempts: int(a.Deliveries), Stream: a.Stream, Sequence: a.Sequence, Covers: found.covers,
		Next: "find out why the worker could not finish it, mend that, then redrive",
	}); err != nil {
		return err
	}
	w.Log.Error("message.dead_lettered",
		zap.String("stream", a.Stream), zap.Uint64("sequence", a.Sequence), zap.String("consumer", a.Consumer))
	return nil
}

// put stores and counts a dead letter of a unit.
func (w *Worker) put(ctx context.Context, u subject.Unit, l record.DeadLetter) error {
	l.Class, l.Stage, l.Provider, l.LastAnswer, l.At = record.ClassOurs, record.StageSweep, u.Provider, record.NoAnswer, w.Now().UTC()
	err := w.DeadLetters.Put(ctx, u, l, l.ID, deadletter.SameID(l.ID))
	if err == nil {
		w.Metrics.without.Inc()
	}
	return err
}

// deadLetter stores a dead letter about an advisory that does not decode: it may be about a
// message that the broker gave up, and does not say which.
func (w *Worker) deadLetter(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read message metadata: %w", err)
	}
	id := deadletter.ID(subject.Advisories, meta.Sequence.Stream)
	u := subject.Unit{Provider: unknown, Account: unknown, Payment: unknown}
	letters, err := w.DeadLetters.LatestOf(ctx, u, record.StageSweep)
	if err != nil || slices.ContainsFunc(letters, func(l deadletter.Entry) bool { return l.ID == id }) {
		return err
	}
	if err := w.put(ctx, u, record.DeadLetter{
		ID: id, Account: u.Account, Payment: u.Payment,
		Cause: "stored advisory does not decode", Stream: subject.Advisories, Sequence: meta.Sequence.Stream,
		Next: "compare the versions of the broker and of this worker; the broker's log says what it gave up, then discard",
	}); err != nil {
		return err
	}
	w.Log.Error("advisory.unreadable", zap.String("subject", m.Subject()), zap.Uint64("sequence", meta.Sequence.Stream))
	return nil
}

// find reads the message that the advisory is about. If it is no longer stored, only its
// sequence and its consumer are known.
func (w *Worker) find(ctx context.Context, a advisory) (original, error) {
	own := deadletter.ID(a.Stream, a.Sequence)
	none := original{unit: subject.Unit{Provider: unknown, Account: unknown, Payment: unknown}, id: own, account: unknown, payment: unknown}
	if provider, ok := subject.ParseLookupConsumer(a.Consumer); ok {
		none.unit.Provider = provider
	}
	if !slices.Contains(readable, a.Stream) {
		return none, nil
	}
	from, err := w.JS.Stream(ctx, a.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("open stream %s: %w", a.Stream, err)
	}
	none.created = map[string]time.Time{a.Stream: stream.Incarnation(from.CachedInfo())}
	raw, err := from.GetMsg(ctx, a.Sequence)
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
		Covers   uint64     `json:"covers"`
		Created  time.Time  `json:"notifications_created"`
	}
	if err := json.Unmarshal(raw.Data, &body); err != nil || body.Provider == "" || body.Account == "" || body.Payment == "" {
		return named(none, raw.Subject), nil //nolint:nilerr // The dead letter names stream and sequence.
	}
	found := original{
		unit: w.Tokens.Unit(body.Provider, body.Account, body.Payment), id: own, created: none.created,
		account: body.Account, kind: body.Kind, payment: body.Payment, order: body.Order,
	}
	if a.Stream == subject.LookupRetries {
		at, err := stream.Created(ctx, w.JS, subject.Notifications)
		if err != nil {
			return none, err
		}
		if found.created[subject.Notifications] = at; record.SameIncarnation(body.Created, at) {
			found.covers = body.Covers
		}
	}
	return found, nil
}

// named is o with the unit of a subject of STATUSES or ORDERS, under which another
// worker may have stored the dead letter of the message.
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

// hasDeadLetter looks through the dead letters of the payment. A redriven one no
// longer covers its notification: the message that was given up may be the look-up
// that the operator asked for.
func (w *Worker) hasDeadLetter(ctx context.Context, o original) (bool, error) {
	letters, err := w.DeadLetters.LatestOf(ctx, o.unit, subject.Any)
	return slices.ContainsFunc(letters, func(l deadletter.Entry) bool {
		return l.ComparableWith(o.created) && (l.ID == o.id || o.covers > 0 && l.CoversNotification(o.covers))
	}), err
}
