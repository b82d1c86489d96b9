package expect

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/trace"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/internal/retry"
)

// Handle judges the expectation of an event's payment. Where the event says that a sum was
// captured, it judges the expectations of the order's other payments too. It is a
// consume.Handler.
func (w *Worker) Handle(ctx context.Context, m jetstream.Msg) (err error) {
	u, err := subject.ParseUnit(m.Subject())
	if err != nil {
		return err
	}
	e, err := order.ReadEvent(m.Data())
	if err != nil {
		return nil // sweep dead-letters an event that does not decode.
	}
	used, err := w.Expectations.Used(ctx)
	if err != nil || !used {
		return err
	}
	of := m.Headers().Get(trace.Header)
	ctx, span := w.Trace.Process(ctx, of, subject.Orders, subject.ExpectConsumer)
	defer func() { span.End(err) }()
	span.Account(u.Provider, u.Account)
	orders := &once{Payments: w.Orders}
	if err := w.unit(ctx, u, of, orders); err != nil || !captures(e) {
		return err
	}
	units, err := orders.PaymentsOf(ctx, e.Order)
	if err != nil {
		return err
	}
	// normalize stores the entry beside the event. Before it is there, the other payments of the
	// order may have been judged without this one, and nothing would judge them again.
	if meta, err := m.Metadata(); err == nil && !slices.Contains(units, u) && w.Now().Sub(meta.Timestamp) < entryDue {
		return consume.ErrRetryLater
	}
	for _, other := range units {
		if other != u {
			if err := w.unit(ctx, other, of, orders); err != nil {
				return err
			}
		}
	}
	return nil
}

// entryDue is how long after its event a payment's entry in the index of orders may come. A
// guess: a killed normalize leaves it to the redelivery, after the ack wait. Of an older payment
// sweep may have removed the entry.
const entryDue = time.Minute

// captures reports whether an event is the first to say that a sum was captured.
func captures(e order.Event) bool {
	return isHeld(e.Status) && (e.From == nil || !isHeld(*e.From))
}

// unit judges the expectation of a payment, or, in the trace of the event, what follows one
// that was removed.
func (w *Worker) unit(ctx context.Context, u subject.Unit, event string, orders Payments) error {
	raw, err := stream.Last(ctx, w.Expectations.Expected(), u.Expected())
	if err != nil {
		return err
	}
	if raw != nil {
		_, _, err := w.message(ctx, raw, orders)
		if errors.Is(err, retry.ErrFull) { // Its outcomes are published; the walk has it looked up.
			return nil
		}
		return err
	}
	log, err := w.Expectations.Log(ctx, u)
	if err != nil {
		return err
	}
	for i := len(log.Outcomes) - 1; i >= 0; i-- {
		o := log.Outcomes[i]
		switch o.Outcome {
		case expectation.Withdrawn:
			return nil
		case expectation.Refused, expectation.Unannounced:
			continue
		case expectation.Met, expectation.AmountMismatch, expectation.PaidLate, expectation.PaidTwice, expectation.NeverPaid:
		}
		if o.Order == nil || o.Deadline == nil {
			continue
		}
		_, err := w.judge(ctx, expected{
			unit: u, payment: o.Payment, version: o.Version, deadline: *o.Deadline, trace: event,
			body: expectation.Expectation{Order: *o.Order, Amount: o.Expected, Deadline: o.Deadline},
		}, orders)
		return err
	}
	return nil
}
