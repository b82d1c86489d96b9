// Package lookup is the look-up worker: it asks providers what a payment's
// status is and writes the answer behind the payment's last observation. What
// the webhook claimed does not matter where a look-up exists.
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

// Options are what a worker of one provider needs.
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
	Jitter       func() float64 // From 0 to 1.
	Limits
}

// Worker looks up the payments of one provider. Its handlers may run
// concurrently, in this and other processes.
type Worker struct {
	Options
	refusal refusal
	answers map[string]*answers    // By account.
	checks  map[string]*sync.Mutex // By account: held while a refused credential is checked.
}

// New returns a worker.
func New(o Options) *Worker {
	o.Metrics.expect(o.Provider.Name)
	w := &Worker{Options: o, answers: map[string]*answers{}, checks: map[string]*sync.Mutex{}}
	for account := range o.Accounts {
		w.answers[account], w.checks[account] = &answers{}, &sync.Mutex{}
		o.Metrics.expectAccount(o.Provider.Name, account)
	}
	return w
}

// task is one reason to look a payment up.
type task struct {
	unit         subject.Unit
	account      string
	target       provider.Target
	cause        order.Cause
	stands       uint64 // Highest notification that it stands for, 0 for none.
	notification string
	notifiedAt   *time.Time
	fired        *record.ScheduledLookUp // nil for a fresh notification.
	stored       time.Time               // When the broker stored the notification; zero for a parked one.
	stream       string                  // Of the message in hand.
	sequence     uint64
	newest       bool                 // Nothing was waiting behind the notification when it was delivered.
	doubtful     bool                 // An answer covers it, and is older than it.
	refused      bool                 // See record.Parked.
	failures     []order.FailedLookUp // With the one in hand; nil before it has failed, see failedLookUps.
	trace        string
}

// superseded reports whether an answer that began after the task's
// notification was stored is already written. Only notifications can be:
// rechecks, confirmations, sweeps and operators always ask.
func (t task) superseded(last observations.Entry) bool {
	return t.cause == order.CauseNotification && t.stands <= last.Covers()
}

// HandleNotification handles one message of NOTIFICATIONS.
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
		cause:  order.CauseNotification, stands: sequence,
		notification: n.ID, notifiedAt: &n.ReceivedAt, stored: meta.Timestamp,
		stream: subject.Notifications, sequence: sequence, trace: n.Trace,
		newest: meta.NumPending == 0,
	}
	if n.Unknown != "" {
		// All of an account are one unit, so its letters are not read: this one is
		// about its own message, by which the broker knows it again.
		err := w.putLetter(ctx, t, nil, record.DeadLetter{
			Class: record.ClassData, Cause: fmt.Sprintf("unknown notification type %q", n.Unknown), LastAnswer: record.NoAnswer,
		})
		return w.done(t, outcomeDead, order.Observation{}, began, err)
	}
	outcome, seen, err := w.pursue(ctx, t)
	return w.done(t, outcome, seen, began, err)
}

// HandleDue handles one message that a schedule of LOOKUP_RETRIES has fired.
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
	t := task{
		unit: w.Tokens.Unit(p.Provider, p.Account, p.Payment), account: p.Account,
		target: provider.Target{Kind: p.Kind, Payment: p.Payment, Order: p.Order, Fields: p.Fields},
		cause:  p.Cause, stands: p.Covers,
		notification: p.Notification, notifiedAt: p.NotifiedAt,
		fired: &p, refused: p.Refused, stream: subject.LookupRetries, sequence: meta.Sequence.Stream, trace: p.Trace,
	}
	w.Metrics.fired(w.Provider.Name, began.Sub(p.DueAt))
	outcome, seen, err := w.pursue(ctx, t)
	return w.done(t, outcome, seen, began, err)
}

// deadLetterUnreadable puts away a message of ours that does not read as one.
func (w *Worker) deadLetterUnreadable(ctx context.Context, stream, on string, sequence uint64) error {
	w.Log.Error("stored message does not decode", zap.String("subject", on), zap.Uint64("sequence", sequence))
	u := subject.Unit{Provider: w.Provider.Name, Account: "unreadable", Payment: "unreadable"}
	id := deadletter.ID(stream, sequence)
	return w.DeadLetters.Put(ctx, u, record.DeadLetter{
		ID: id, Class: record.ClassOurs, Stage: record.StageLookup, Provider: u.Provider, Account: u.Account, Payment: u.Payment,
		Cause: "stored message does not decode", LastAnswer: record.NoAnswer, Stream: stream, Sequence: sequence,
		Next: "compare the versions of the gateway and of this worker", At: w.Now().UTC(),
	}, id, deadletter.SameID(id))
}

// done writes the one canonical line of a handled message.
func (w *Worker) done(t task, outcome string, seen order.Observation, began time.Time, err error) error {
	if err != nil {
		return fmt.Errorf("look up %s: %w", t.unit, err)
	}
	w.Metrics.outcome(w.Provider.Name, outcome)
	w.Log.Info("look-up",
		zap.String("provider", t.unit.Provider), zap.String("account", t.account), zap.String("payment", t.unit.Payment),
		zap.String("notification", t.notification), zap.Uint64("sequence", t.stands),
		zap.String("cause", string(t.cause)), zap.String("decision", outcome),
		zap.String("status", string(seen.Status)), zap.String("provider_status", seen.ProviderStatus),
		zap.Duration("took", w.Now().Sub(began)), zap.String("traceparent", t.trace))
	return nil
}
