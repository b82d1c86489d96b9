// Package subscriber reads order events from ORDERS with a durable pull consumer and calls a
// handler for each: the events of one payment in order, one at a time, and each until the
// handler accepts it. It is for the services that subscribe, and depends on nothing of the
// server.
package subscriber

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arauto/schemas/order"
	"arauto/schemas/subject"
)

// Event is an order event as it was delivered.
type Event struct {
	order.Event
	ID       string    // The CloudEvents id: the same for each delivery of the event.
	Sequence uint64    // On ORDERS.
	Stored   time.Time // When it was stored, by the broker's clock.
	Trace    string    // W3C trace context (traceparent) of the webhook, or of the span that published the event; empty for none.
	After    uint64    // The transition of the payment's latest event that this Run has handled, 0 for none and where a log begins again.

	latest uint64 // The sequence of that event.
}

// position is where an event is in its payment's log.
type position struct{ transition, sequence uint64 }

// follow says which event of the payment was handled last. Of one log later events have higher
// transitions: where they are not higher a log has begun again.
func (e *Event) follow(last position) {
	e.After, e.latest = last.transition, last.sequence
	if !e.Late() && e.Transition <= last.transition {
		e.After = 0
	}
}

// Late reports that a later event of the payment was handled before. That happens after a
// stop while an event was retried: the broker redelivers in any order.
func (e Event) Late() bool { return e.Sequence < e.latest }

// Handler handles one event. Nil means that the service has stored its work: the event is
// acked. After an error the same event is handled again, with a growing delay, and the
// payment's later ones wait. An error from Refuse ends that. Events of other payments go on
// until max_ack_pending of the consumer is reached.
type Handler func(ctx context.Context, e Event) error

// refusal is the error of an event that the service will never accept.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// Refuse wraps the error of an event that the service will never accept. With
// Options.DeadLetters the event becomes a dead letter and is acked; without, it is retried
// like any other. The error's text is stored: it must hold no secret and no personal data.
func Refuse(err error) error { return &refusal{err} }

// Options configure Run. All but Consumer have defaults.
type Options struct {
	Consumer    string        // The durable consumer on ORDERS, for example "billing".
	Concurrency int           // Payments that are handled at a time, 16 by default.
	FirstDelay  time.Duration // Before an event is handled again, 1 s by default. It doubles with each failure.
	MaxDelay    time.Duration // The longest such delay, 1 min by default.
	Grace       time.Duration // How long handlers may finish after a stop, 10 s by default.
	DeadLetters bool          // Store refused events on dead.subscriber.<consumer>.>, which the account must import.

	// Report is called with what does not end Run: a failed handler, a *Gap before an event,
	// an event that does not decode, a broker that does not answer. e is zero if it is not about
	// an event. It may be called concurrently. Nil reports nothing.
	Report func(e Event, err error)
}

func (o Options) withDefaults() Options {
	for value, standard := range map[*time.Duration]time.Duration{&o.FirstDelay: time.Second, &o.MaxDelay: time.Minute, &o.Grace: 10 * time.Second} {
		if *value <= 0 {
			*value = standard
		}
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 16
	}
	if o.Report == nil {
		o.Report = func(Event, error) {}
	}
	return o
}

// Connect logs in at the broker as arauto subscriber add has printed it for a service. The
// connection is made again for as long as the process lives. url may list several servers
// with commas between them.
func Connect(url, name, password string, more ...nats.Option) (jetstream.JetStream, error) {
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.Name(name), nats.UserInfo(name, password), nats.CustomInboxPrefix("_INBOX_" + name), nats.MaxReconnects(-1),
	}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("connect as %s: %w", name, err)
	}
	return jetstream.New(nc)
}

// Run handles the consumer's events until ctx ends, and returns nil then: handlers finish
// within the grace, and what is not handled is returned to the broker. It returns an error
// if the consumer does not exist. js must be of the account that may use the consumer, see
// deploy/SUBSCRIBING.md. One process at a time keeps the order of a payment's events; with
// several, each event is still handled, but two of one payment may be handled at once.
func Run(ctx context.Context, js jetstream.JetStream, o Options, handle Handler) error {
	o = o.withDefaults()
	if o.DeadLetters && (strings.HasPrefix(o.Consumer, "-") || strings.Trim(o.Consumer, "abcdefghijklmnopqrstuvwxyz-") != "") {
		return fmt.Errorf("consumer %s names the stage of dead letters: use lower-case letters and hyphens", o.Consumer)
	}
	consumer, err := js.Consumer(ctx, subject.Orders, o.Consumer)
	if err != nil {
		return fmt.Errorf("bind consumer %s: %w", o.Consumer, err)
	}
	info := consumer.CachedInfo()
	switch {
	case info.Config.AckPolicy != jetstream.AckExplicitPolicy:
		return fmt.Errorf("consumer %s must ack each event by itself: ack_policy explicit", o.Consumer)
	case info.Config.MaxAckPending <= 0:
		return fmt.Errorf("consumer %s must bound the events that are held: max_ack_pending 1000", o.Consumer)
	}
	r, err := newRun(ctx, js, o, info.Config.MaxAckPending, handle)
	if err != nil {
		return err
	}
	defer r.cancel()
	stopHeartbeats := r.heartbeat(info.Config.AckWait / 3)
	defer stopHeartbeats()
	err = r.pull(ctx, consumer)
	grace := time.AfterFunc(o.Grace, r.cancel)
	defer grace.Stop()
	r.busy.Wait()
	return err
}

// Start says where a replay begins. The zero Start is the first stored event.
type Start struct {
	Sequence uint64    // On ORDERS; before Time.
	Time     time.Time // When events were stored.
	Filter   string    // Subjects, for example "orders.picpay.default.>" or "orders.*.*.*.<order>.*"; all by default.
}

// Replay calls visit for each event that is stored from start on when Replay is called, in the
// order of sequences, until visit returns an error. It acks nothing and moves no consumer.
// Compacted events are not stored any more. Each event is one request to the broker.
func Replay(ctx context.Context, js jetstream.JetStream, start Start, visit Handler) error {
	stream, err := js.Stream(ctx, subject.Orders)
	if err != nil {
		return fmt.Errorf("open stream %s: %w", subject.Orders, err)
	}
	last := stream.CachedInfo().State.LastSeq
	next := max(start.Sequence, 1)
	if start.Sequence == 0 && !start.Time.IsZero() {
		if next, err = since(ctx, stream, start.Time, last+1); err != nil {
			return err
		}
	}
	for next <= last {
		raw, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(cmp.Or(start.Filter, subject.AllEvents)))
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && raw.Sequence > last {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read event: %w", err)
		}
		next = raw.Sequence + 1
		e, err := decode(raw.Data, raw.Header, raw.Sequence, raw.Time)
		if err != nil {
			return err
		}
		if err := visit(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// since is the sequence of the first event that was stored at or after a time, or end.
func since(ctx context.Context, stream jetstream.Stream, at time.Time, end uint64) (uint64, error) {
	low, high := uint64(1), end
	for low < high {
		middle := low + (high-low)/2
		raw, err := stream.GetMsg(ctx, middle, jetstream.WithGetMsgSubject(subject.AllEvents))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			high = middle
		case err != nil:
			return 0, fmt.Errorf("find the first event: %w", err)
		case raw.Time.Before(at):
			low = raw.Sequence + 1
		default:
			high = middle
		}
	}
	return low, nil
}

// errUnknown wraps what does not decode: an event of a newer version, whose status this
// version must not guess.
var errUnknown = errors.New("this version of the package cannot read the event; update it")

// read decodes a delivered event.
func read(m jetstream.Msg) (Event, error) {
	meta, err := m.Metadata()
	if err != nil {
		return Event{}, fmt.Errorf("read message metadata: %w", err)
	}
	return decode(m.Data(), m.Headers(), meta.Sequence.Stream, meta.Timestamp)
}

func decode(data []byte, header nats.Header, sequence uint64, stored time.Time) (Event, error) {
	body, err := order.ReadEvent(data)
	e := Event{Event: body, ID: header.Get("ce-id"), Trace: header.Get("traceparent"), Sequence: sequence, Stored: stored}
	if err != nil {
		return e, fmt.Errorf("event %d: %w: %w", e.Sequence, errUnknown, err)
	}
	return e, nil
}
