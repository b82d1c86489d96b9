// Package lookup is the look-up role: it asks providers for the payments that webhooks
// are about and appends the answers to STATUSES. What a webhook's payload says of a
// payment counts only where the provider has no look-up. More processes look up more at
// a time.
package lookup

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/deadletter"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/providerhttp"
	"arauto/workers/internal/retry"
)

// Options are what a worker of one provider works with.
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
	Now          func() time.Time
	Jitter       func() float64 // A random number from 0 to 1.
	Limits
}

// Worker looks up the payments of one provider. Its handlers may run concurrently, in
// this and other processes.
type Worker struct {
	Options
	storeFailure storeFailure           // Set while STATUSES refuses answers.
	answers      map[string]*answers    // By account: the recent answers about known and unknown payments.
	checks       map[string]*sync.Mutex // By account: held while a refused credential is checked.
}

// New returns a worker and sets the provider's metrics to 0.
func New(o Options) *Worker {
	o.Metrics.expect(o.Provider.Name)
	w := &Worker{Options: o, answers: map[string]*answers{}, checks: map[string]*sync.Mutex{}}
	for account := range o.Accounts {
		w.answers[account], w.checks[account] = &answers{}, &sync.Mutex{}
		o.Metrics.expectAccount(o.Provider.Name, account)
	}
	return w
}

// task is one look-up of a payment, and why it is made.
type task struct {
	unit         subject.Unit
	account      string
	target       provider.Target
	cause        order.Cause
	covers       uint64    // Highest notification that it covers, 0 for none.
	created      time.Time // Creation time of the NOTIFICATIONS that covers is a sequence of.
	notification string
	notifiedAt   *time.Time
	fired        *record.ScheduledLookUp // The scheduled look-up that became due; nil for a fresh notification.
	stored       time.Time               // When the broker stored the notification; zero for a scheduled look-up.
	stream       string                  // Of the message that is handled.
	sequence     uint64
	noPending    bool                 // The consumer had no further message pending when it delivered the notification.
	coverOlder   bool                 // The notification is covered by an answer that is older than it: see checkCoverage.
	refused      bool                 // The provider refused the account's credential in a look-up of this payment.
	failures     []order.FailedLookUp // The failed look-ups since the last answer, this one included; nil until this one has failed, see failedLookUps.
	trace        string
}

// superseded reports whether an answer covers the task's notification already.
// Rechecks, confirmations, the look-ups of sweep and operators, and those for a
// notification of another incarnation of NOTIFICATIONS are made in any case.
func (t task) superseded(last observations.Entry) bool {
	return t.cause == order.CauseNotification && t.covers > 0 && t.covers <= last.Covers()
}

// HandleNotification handles one message of NOTIFICATIONS. It is a consume.Handler.
func (w *Worker) HandleNotification(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read message metadata: %w", err)
	}
	began := w.Now()
	sequence := meta.Sequence.Stream
	var n record.Notification
	if err := json.Unmarshal(m.Data(), &n); err != nil || n.Provider != w.Provider.Name {
		return w.deadLetterUnreadable(ctx, subject.Notifications, m.Subject(), sequence)
	}
	t := task{
		unit: w.Tokens.Unit(n.Provider, n.Account, n.Payment), account: n.Account,
		target: provider.Target{Kind: n.Kind, Payment: n.Payment, Order: n.Order, Fields: n.Fields},
		cause:  order.CauseNotification, covers: sequence, created: w.Observations.Created(),
		notification: n.ID, notifiedAt: &n.ReceivedAt, stored: meta.Timestamp,
		stream: subject.Notifications, sequence: sequence, trace: n.Trace,
		noPending: meta.NumPending == 0,
	}
	if n.Unknown != "" {
		// All notifications of unknown types of an account are one unit, whose dead letters
		// are not read here: the message id alone keeps this dead letter from being stored
		// twice.
		err := w.putDeadLetter(ctx, t, nil, record.DeadLetter{
			Class: record.ClassData, Cause: fmt.Sprintf("unknown notification type %q", n.Unknown), LastAnswer: record.NoAnswer,
		})
		return w.done(t, outcomeDead, order.Observation{}, began, err)
	}
	outcome, seen, err := w.lookUp(ctx, t)
	return w.done(t, outcome, seen, began, err)
}

// HandleDue handles one scheduled look-up that the broker delivered at its due time. It
// is a consume.Handler.
func (w *Worker) HandleDue(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read message metadata: %w", err)
	}
	began := w.Now()
	var p record.ScheduledLookUp
	if err := json.Unmarshal(m.Data(), &p); err != nil || p.Provider != w.Provider.Name {
		return w.deadLetterUnreadable(ctx, subject.LookupRetries, m.Subject(), meta.Sequence.Stream)
	}
	created := w.Observations.Created()
	p = p.On(created)
	t := task{
		unit: w.Tokens.Unit(p.Provider, p.Account, p.Payment), account: p.Account,
		target: provider.Target{Kind: p.Kind, Payment: p.Payment, Order: p.Order, Fields: p.Fields},
		cause:  p.Cause, covers: p.Covers, created: created,
		notification: p.Notification, notifiedAt: p.NotifiedAt,
		fired: &p, refused: p.Refused, stream: subject.LookupRetries, sequence: meta.Sequence.Stream, trace: p.Trace,
	}
	w.Metrics.fired(w.Provider.Name, began.Sub(p.DueAt))
	outcome, seen, err := w.lookUp(ctx, t)
	return w.done(t, outcome, seen, began, err)
}

// deadLetterUnreadable stores the dead letter of a message that does not decode.
func (w *Worker) deadLetterUnreadable(ctx context.Context, stream, on string, sequence uint64) error {
	w.Log.Error("message.decode_failed", zap.String("subject", on), zap.Uint64("sequence", sequence))
	u := subject.Unit{Provider: w.Provider.Name, Account: "unreadable", Payment: "unreadable"}
	id := deadletter.ID(stream, sequence)
	return w.DeadLetters.Put(ctx, u, record.DeadLetter{
		ID: id, Class: record.ClassOurs, Stage: record.StageLookup, Provider: u.Provider, Account: u.Account, Payment: u.Payment,
		Cause: "stored message does not decode", LastAnswer: record.NoAnswer, Stream: stream, Sequence: sequence,
		Next: "compare the versions of the gateway and of this worker", At: w.Now().UTC(),
	}, id, deadletter.SameID(id))
}

// done counts the outcome and writes the one canonical log line of a handled message.
func (w *Worker) done(t task, outcome string, seen order.Observation, began time.Time, err error) error {
	if err != nil {
		return fmt.Errorf("look up %s: %w", t.unit, err)
	}
	w.Metrics.outcome(w.Provider.Name, outcome)
	w.Log.Info("lookup.handled",
		zap.String("provider", t.unit.Provider), zap.String("account", t.account), zap.String("payment", t.unit.Payment),
		zap.String("notification", t.notification), zap.Uint64("sequence", t.covers),
		zap.String("cause", string(t.cause)), zap.String("decision", outcome),
		zap.String("status", string(seen.Status)), zap.String("provider_status", seen.ProviderStatus),
		zap.Duration("took", w.Now().Sub(began)), zap.String("traceparent", t.trace))
	return nil
}
