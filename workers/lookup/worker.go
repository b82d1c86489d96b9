// Package lookup is the look-up role: it asks providers for the payments that webhooks
// are about and appends the answers to STATUSES. What a webhook's payload says of a
// payment counts only where the provider has no look-up. More processes look up more at
// a time.
package lookup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/spans"
	"arauto/deploy/runtime/stream"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/providerhttp"
	"arauto/workers/internal/retry"
	"arauto/workers/internal/verdict"
)

// Options are what a worker of one provider works with. Accounts, Policy and Rates are what it
// begins with: see Replace.
type Options struct {
	Provider     provider.Provider
	Accounts     map[string]provider.Account // By name.
	Policy       provider.RetryPolicy
	Tokens       subject.Tokens
	Ask          *providerhttp.Client
	Observations *observations.Store
	Retries      *retry.Store
	DeadLetters  *deadletter.Store
	Log          *zap.Logger
	Metrics      *Metrics
	Trace        *spans.Tracer // Nil for no spans.
	Now          func() time.Time
	Jitter       func() float64 // A random number from 0 to 1.
	Limits
}

// Worker looks up the payments of one provider. Its handlers may run concurrently, in
// this and other processes.
type Worker struct {
	Options
	pausedUntil atomic.Int64 // Nanoseconds since 1970: no look-up is made before, because STATUSES refused an answer.
	current     atomic.Pointer[Setup]

	unstored *lru.Cache[string, time.Time] // By message: until when it is not asked about, because DEAD_LETTERS refused its dead letter.
}

// mostUnstored is how many such messages are remembered. A guess, about max_ack_pending.
const mostUnstored = 16_384

// New returns a worker and sets the provider's metrics to 0.
func New(o Options) *Worker {
	unstored, _ := lru.New[string, time.Time](mostUnstored) // It fails for a size below 1 only.
	w := &Worker{Options: o, unstored: unstored}
	w.Replace(Setup{Accounts: o.Accounts, Policy: o.Policy, Rates: o.Rates})
	return w
}

// task is one look-up of a payment. Its ScheduledLookUp says why it is made, and is what is
// scheduled if it fails.
type task struct {
	record.ScheduledLookUp
	unit        subject.Unit
	fresh       bool              // It is made for a notification; else the broker delivered a scheduled look-up.
	stream      string            // Of the message that is handled.
	sequence    uint64            // Of the message.
	storedAt    time.Time         // When the broker stored the notification; zero for a scheduled look-up.
	noPending   bool              // The consumer had no further message pending when it delivered the notification.
	unknownType string            // The provider's type of the notification if we do not know it.
	delivered   uint64            // The notification that it covered when it was delivered.
	conflict    bool              // Another look-up was answered while this one was made.
	seen        order.Observation // The answer, for the log.
}

// target is what the provider is asked for.
func (t task) target() provider.Target {
	return provider.Target{Kind: t.Kind, Payment: t.Payment, Order: t.Order, Fields: t.Fields}
}

// lookUpFor is the look-up that a notification leads to.
func lookUpFor(n record.Notification, sequence uint64) record.ScheduledLookUp {
	return record.ScheduledLookUp{
		Provider: n.Provider, Account: n.Account, Kind: n.Kind, Payment: n.Payment, Order: n.Order, Fields: n.Fields,
		Covers: sequence, Notification: n.ID, NotifiedAt: &n.ReceivedAt, Trace: n.Trace, Cause: order.CauseNotification,
	}
}

// HandleNotification handles one message of NOTIFICATIONS. It is a consume.Handler.
func (w *Worker) HandleNotification(ctx context.Context, m jetstream.Msg) error {
	var n record.Notification
	unreadable := json.Unmarshal(m.Data(), &n)
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read message metadata: %w", err)
	}
	return w.handle(ctx, m.Subject(), unreadable, task{
		ScheduledLookUp: lookUpFor(n, meta.Sequence.Stream), stream: subject.Notifications, sequence: meta.Sequence.Stream,
		fresh: true, storedAt: meta.Timestamp, noPending: meta.NumPending == 0, unknownType: n.Unknown,
	})
}

// HandleDue handles one scheduled look-up that the broker delivered at its due time. It
// is a consume.Handler.
func (w *Worker) HandleDue(ctx context.Context, m jetstream.Msg) error {
	var p record.ScheduledLookUp
	unreadable := json.Unmarshal(m.Data(), &p)
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read message metadata: %w", err)
	}
	return w.handle(ctx, m.Subject(), unreadable, task{ScheduledLookUp: p, stream: subject.LookupRetries, sequence: meta.Sequence.Stream})
}

// handle brings a message's task to its outcome, counts that, and writes the one canonical
// log line of a handled message. A message that does not decode is dead-lettered.
func (w *Worker) handle(ctx context.Context, on string, unreadable error, t task) (err error) {
	began, created := w.Now(), w.Observations.Created()
	t.ScheduledLookUp = t.On(created)
	t.NotificationsCreated, t.delivered = created, t.Covers
	if unreadable != nil || t.Provider != w.Provider.Name {
		w.Log.Error("message.decode_failed", zap.String("subject", on), zap.Uint64("sequence", t.sequence))
		t.ScheduledLookUp = record.ScheduledLookUp{Provider: w.Provider.Name, Account: "unreadable", Payment: "unreadable"}
		t.unit = w.Tokens.Unit(t.Provider, t.Account, t.Payment)
		return w.putDeadLetter(ctx, &t, nil, record.DeadLetter{
			Class: record.ClassOurs, Cause: "stored message does not decode", LastAnswer: record.NoAnswer,
			Next: "compare the versions of the gateway and of this worker",
		})
	}
	t.unit = w.Tokens.Unit(t.Provider, t.Account, t.Payment)
	ctx, span := w.trace(ctx, &t)
	defer func() { span.End(err) }()
	if !t.fresh {
		span.Observe(w.Metrics.lateness.WithLabelValues(w.Provider.Name), began.Sub(t.DueAt).Seconds())
	}
	outcome, err := w.lookUp(ctx, &t)
	if err != nil {
		return fmt.Errorf("look up %s: %w", t.unit, err)
	}
	w.Metrics.outcomes.WithLabelValues(w.Provider.Name, outcome).Inc()
	span.Outcome(outcome)
	w.Log.Info("lookup.handled",
		zap.String("provider", t.unit.Provider), zap.String("account", t.Account), zap.String("payment", t.unit.Payment),
		zap.String("notification", t.Notification), zap.Uint64("sequence", t.delivered),
		zap.String("cause", string(t.Cause)), zap.String("decision", outcome),
		zap.String("status", string(t.seen.Status)), zap.String("provider_status", t.seen.ProviderStatus),
		zap.Duration("took", w.Now().Sub(began)), zap.String("traceparent", t.Trace))
	return nil
}

// trace begins the span of a task. No webhook began the trace of what sweep, expect or an
// operator wants to know, so it is decided here whether that is recorded.
func (w *Worker) trace(ctx context.Context, t *task) (context.Context, *spans.Span) {
	if t.Notification == "" {
		t.Trace = w.Trace.Sample(t.Trace)
	}
	consumer := subject.LookupDueConsumer(w.Provider.Name)
	if t.fresh {
		consumer = subject.LookupConsumer(w.Provider.Name)
	}
	ctx, span := w.Trace.Process(ctx, t.Trace, t.stream, consumer)
	span.Account(t.Provider, t.Account)
	return ctx, span
}

// lookUp brings a task to its outcome. After a conflict it is decided again.
func (w *Worker) lookUp(ctx context.Context, t *task) (outcome string, err error) {
	if t.unknownType != "" {
		if last, err := w.Observations.Last(ctx, t.unit); err != nil || last.Refuses(t.storedAt) {
			return outcomeForgotten, err
		}
		// All notifications of unknown types of an account are one unit, whose dead letters
		// are not read: the message id alone keeps this one from being stored twice.
		return outcomeDead, w.putDeadLetter(ctx, t, nil, record.DeadLetter{
			Class: record.ClassData, Cause: fmt.Sprintf("unknown notification type %q", t.unknownType), LastAnswer: record.NoAnswer,
		})
	}
	attempt := w.pursue
	if w.hasNoLookUp(t) {
		attempt = w.trustPayload
	}
	err = stream.RetryConflicts(ctx, func() (err error) {
		outcome, err = attempt(ctx, t)
		if t.conflict = stream.IsConflict(err); t.conflict {
			w.Metrics.conflicts.WithLabelValues(w.Provider.Name).Inc()
		}
		return err
	})
	return outcome, err
}

// pursue loads what is stored about the payment, decides, asks every limit, asks the
// provider, and stores what came of it.
func (w *Worker) pursue(ctx context.Context, t *task) (outcome string, err error) {
	s, err := w.load(ctx, t)
	if err != nil {
		return "", err
	}
	switch decision := decide(*t, s, w.Now()); decision {
	case superseded, redundant, forgotten:
		t.seen = s.last.Observation
		return string(decision), nil
	case join:
		return outcomeScheduled, w.join(ctx, t, s)
	case askAgain:
		t.makeRecheck(s)
	case ask:
	}
	p, newest, err := w.admit(ctx, t, s)
	var deferred *verdict.DeferredError
	switch {
	case errors.As(err, &deferred):
		return w.failed(ctx, t, s, deferred, nil)
	case err != nil:
		return "", err
	}
	defer p.release()
	askedAt := w.Now()
	fact, err := w.ask(ctx, *t)
	err = w.reportResult(ctx, *t, p, s.scheduled, err)
	switch {
	case answered(err):
		return w.store(ctx, t, s, t.observation(fact, askedAt, w.Now()), newest)
	case ctx.Err() != nil:
		return "", ctx.Err()
	}
	return w.failed(ctx, t, s, err, &order.FailedLookUp{At: askedAt.UTC(), Error: err.Error(), HTTP: providerhttp.StatusOf(err)})
}
