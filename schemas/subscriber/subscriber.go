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
	"sort"
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

	latest uint64       // The sequence of that event.
	unit   subject.Unit // The payment, as in subjects.
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
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// Refuse wraps the error of an event that the service will never accept. With
// Options.DeadLetters the event becomes a dead letter and is acked; without, it is retried
// like any other. The error's text is stored: it must hold no secret and no personal data.
func Refuse(err error) error { return refusal{err} }

// Options configure Run. All but Consumer have defaults, which 0 selects.
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
	if o.DeadLetters && (strings.HasPrefix(o.Consumer, "-") || strings.Trim(o.Consumer, "abcdefghijklmnopqrstuvwxyz-") != "") {
		return fmt.Errorf("consumer %s names the stage of dead letters: use lower-case letters and hyphens", o.Consumer)
	}
	consumer, err := js.Consumer(ctx, subject.Orders, o.Consumer)
	if err != nil {
		return fmt.Errorf("bind consumer %s: %w", o.Consumer, err)
	}
	switch config := consumer.CachedInfo().Config; {
	case config.AckPolicy != jetstream.AckExplicitPolicy:
		return fmt.Errorf("consumer %s must ack each event by itself: ack_policy explicit", o.Consumer)
	case config.MaxAckPending <= 0:
		return fmt.Errorf("consumer %s must bound the events that are held: max_ack_pending 1000", o.Consumer)
	}
	r := newRun(ctx, js, o, handle)
	defer r.cancel()
	err = r.pull(consumer)
	defer time.AfterFunc(r.Grace, r.cancel).Stop()
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
	next, last := max(start.Sequence, 1), stream.CachedInfo().State.LastSeq
	if start.Sequence == 0 && !start.Time.IsZero() {
		next += uint64(sort.Search(int(last), func(i int) bool { // Sequences are in the order of time.
			raw, failure := stored(ctx, stream, uint64(i)+1, subject.AllEvents)
			err = cmp.Or(err, failure)
			return raw == nil || !raw.Time.Before(start.Time)
		}))
	}
	for err == nil && next <= last {
		var raw *jetstream.RawStreamMsg
		raw, err = stored(ctx, stream, next, cmp.Or(start.Filter, subject.AllEvents))
		if raw == nil || raw.Sequence > last {
			break
		}
		next = raw.Sequence + 1
		var e Event
		if e, err = read(raw); err == nil {
			err = visit(ctx, e)
		}
	}
	return err
}

// stored reads the first stored event on a filter from a sequence on, nil for none.
func stored(ctx context.Context, s jetstream.Stream, from uint64, filter string) (*jetstream.RawStreamMsg, error) {
	raw, err := s.GetMsg(ctx, from, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read stored event: %w", err)
	}
	return raw, nil
}

// read decodes an event. One of a newer version, whose status this version must not guess, is
// an error. An event that is on no subject of ORDERS counts as a payment of its own.
func read(raw *jetstream.RawStreamMsg) (Event, error) {
	body, err := order.ReadEvent(raw.Data)
	if err != nil {
		err = fmt.Errorf("event %d: this version of the package cannot read it; update it: %w", raw.Sequence, err)
	}
	unit, unknown := subject.ParseUnit(raw.Subject)
	if unknown != nil {
		unit.Payment = raw.Subject
	}
	return Event{
		Event: body, ID: raw.Header.Get("ce-id"), Trace: raw.Header.Get("traceparent"), Sequence: raw.Sequence, Stored: raw.Time, unit: unit,
	}, err
}
