package expect

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/expectation"
	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/expectations"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/retry"
)

// collected is what is stored about an expectation.
type collected struct {
	Facts
	log       expectations.Log
	scheduled retry.Entry
}

func isHeld(s order.Status) bool { return slices.Contains(held, s) }

// collect reads the facts about an expectation. The outcomes are read first: a process that
// publishes one meanwhile makes the next append a conflict.
func (w *Worker) collect(ctx context.Context, e expected, orders Payments) (g collected, err error) {
	g.Facts = Facts{
		Order: e.body.Order, Amount: e.body.Amount, Deadline: e.deadline, Since: e.since,
		Closed: e.sequence == 0, Now: w.Now(), Speedup: w.Speedup,
	}
	if g.log, err = w.Expectations.Log(ctx, e.unit); err != nil {
		return g, err
	}
	g.Said = g.log.Said(e.version)
	if g.Events, err = w.events(ctx, e.unit); err != nil {
		return g, err
	}
	if n := len(g.Events); n > 0 && isHeld(g.Events[n-1].Status) && !g.said(expectation.PaidTwice) {
		if g.Other, err = w.otherPaid(ctx, e, g.Events[n-1].Kind, orders); err != nil {
			return g, err
		}
	}
	if g.Closed {
		return g, nil
	}
	if !g.said(expectation.Unannounced) {
		if g.Silent, err = w.silent(ctx, e.unit, g.Events); err != nil {
			return g, err
		}
	}
	// The last answer is read after what is scheduled: a look-up that is not scheduled any more
	// has its answer by then, or is being made. Two processes that read this at once may still
	// have a payment looked up once each.
	if g.scheduled, err = w.Retries.Read(ctx, e.unit.Provider, e.unit.Account, e.payment); err != nil {
		return g, err
	}
	if err := w.readScheduled(ctx, e, &g); err != nil {
		return g, err
	}
	last, err := w.Observations.Last(ctx, e.unit)
	if err != nil {
		return g, err
	}
	g.Status, g.Asked, g.Known = last.Observation.Status, last.Observation.AskedAt, last.Observation.Confirmed
	if g.capture() == nil {
		g.Notified, err = w.notified(ctx, e.unit, last)
	}
	return g, err
}

// events reads a payment's order log. What does not decode is left out.
func (w *Worker) events(ctx context.Context, u subject.Unit) (all []Event, err error) {
	err = stream.EachFew(ctx, w.orders, u.Events(), 0, func(raw *jetstream.RawStreamMsg) (bool, error) {
		if e, err := observations.EventOf(raw); err == nil {
			all = append(all, Event{Event: e, Stored: raw.Time})
		}
		return true, nil
	})
	return all, err
}

// otherPaid finds another payment of the shop's order whose sum is with the merchant, nil for none.
// A payout of the order is money out, and no second payment.
func (w *Worker) otherPaid(ctx context.Context, e expected, kind order.Kind, orders Payments) (*expectation.Payment, error) {
	units, err := orders.PaymentsOf(ctx, e.body.Order)
	if err != nil {
		return nil, err
	}
	for _, u := range units {
		if u == e.unit || !w.SameShop(u, e.unit) {
			continue
		}
		log, err := observations.OrderLog(ctx, w.orders, u)
		if err != nil {
			return nil, err
		}
		if last := log.Last; last != nil && last.Order == e.body.Order && last.Kind == kind && isHeld(last.Status) {
			return &expectation.Payment{Provider: last.Provider, Account: last.Account, Payment: last.Payment}, nil
		}
	}
	return nil, nil
}

// readScheduled reads what the scheduled look-up says. Its failed look-ups are those since
// the last answer.
func (w *Worker) readScheduled(ctx context.Context, e expected, g *collected) error {
	parked := g.scheduled.Parked
	for _, failed := range parked.FailedLookUps {
		if failed.Class == string(record.NotFound) && failed.At.After(g.NotFound) {
			g.NotFound = failed.At
		}
	}
	switch {
	case g.scheduled.Sequence > 0 && parked.Cause != order.CauseExpectation:
		g.Waits = true
		return nil
	case g.scheduled.Sequence > 0 && (parked.Attempts > 0 || parked.FirstFailure != nil || parked.Reason != string(order.CauseExpectation)):
		g.Waits = true // A retry, or a look-up that a limit has deferred.
		return nil
	case g.scheduled.Sequence > 0:
		g.WaitsAt = parked.DueAt
		return nil
	}
	due, err := w.Retries.ReadDue(ctx, e.unit.Provider, e.unit.Account, e.payment)
	g.Waits = due.Sequence > 0 && g.Now.Sub(due.At) < inFlight
	return err
}

// notified reports whether a notification was stored lately that no answer covers, so that
// its look-up is being made.
func (w *Worker) notified(ctx context.Context, u subject.Unit, last observations.Entry) (bool, error) {
	newest, err := w.Observations.LastNotification(ctx, u)
	if err != nil || newest.Sequence <= last.Covers() {
		return false, err
	}
	return newest.NeedsLookUp && w.Now().Sub(newest.Stored) < inFlight, nil
}

// silent finds the last change of state that no notification prompted. A first status
// pending is no change. The notification may have been stored since: then the state before
// does not cover it.
func (w *Worker) silent(ctx context.Context, u subject.Unit, events []Event) (*Silent, error) {
	for i := len(events) - 1; i >= 0; i-- {
		e := events[i]
		if e.Notification != nil || !e.Confirmed || e.From == nil && e.Status == order.Pending {
			continue
		}
		var covered uint64
		if i > 0 {
			raw, err := stream.At(ctx, w.statuses, u.Status(), events[i-1].Observation)
			if err != nil {
				return nil, err
			}
			var before order.Observation
			if raw != nil && json.Unmarshal(raw.Data, &before) == nil && record.SameIncarnation(before.NotificationsCreated, w.Observations.Created()) {
				covered = before.Covers
			}
		}
		newest, err := w.Observations.LastNotification(ctx, u)
		if err != nil {
			return nil, err
		}
		last, err := w.Observations.Last(ctx, u) // It covers notifications that sweep may have removed.
		if err != nil {
			return nil, err
		}
		return &Silent{Stored: e.Stored, Announced: max(newest.Sequence, last.Covers()) > covered}, nil
	}
	return nil, nil
}

// outcome is one outcome of an expectation, by what was collected.
func (g collected) outcome(e expected, word expectation.Word, reason string) expectation.Outcome {
	deadline := e.deadline
	o := expectation.Outcome{
		Provider: e.unit.Provider, Account: e.unit.Account, Payment: e.payment, Order: optional(e.body.Order),
		Outcome: word, Version: e.version, Expected: e.body.Amount, Deadline: &deadline, Paid: g.paid(), At: g.Now.UTC(),
	}
	if n := len(g.Events); n > 0 {
		status, transition := g.Events[n-1].Status, g.Events[n-1].Transition
		o.Status, o.Transition = &status, &transition
	}
	switch word {
	case expectation.PaidTwice:
		o.Other = g.Other
	case expectation.NeverPaid:
		o.Reason = optional(reason)
	case expectation.Met, expectation.AmountMismatch, expectation.PaidLate, expectation.Unannounced, expectation.Refused, expectation.Withdrawn:
	}
	return o
}
