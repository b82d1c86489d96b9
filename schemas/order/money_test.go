package order_test

import (
	"testing"

	"arauto/schemas/order"
)

func brl(authorized, value, refunded int64) *order.Amount {
	return &order.Amount{Currency: "BRL", Value: value, Refunded: refunded, Authorized: authorized}
}

// money is a confirmed answer about an amount.
func money(status order.Status, a *order.Amount) order.Observation {
	o := sample(order.Payment, status, 0)
	o.Amount = a
	return o
}

// says is one answer of a story, what it means and what the log then says.
type says struct {
	status  order.Status
	amount  *order.Amount
	outcome order.Outcome
	after   order.Status
	log     *order.Amount
}

// Each story is folded all along, and by a worker that starts from the event.
func TestMoneyMeansWhatItSays(t *testing.T) {
	t.Parallel()
	dollars := &order.Amount{Currency: "USD", Value: 100}
	for name, story := range map[string][]says{
		"the whole is captured": {
			{order.Authorized, brl(100, 100, 0), order.Applied, order.Authorized, brl(100, 100, 0)},
			{order.Paid, brl(100, 100, 0), order.Applied, order.Paid, brl(100, 100, 0)},
		},
		"a part is captured": {
			{order.Authorized, brl(100, 100, 0), order.Applied, order.Authorized, brl(100, 100, 0)},
			{order.Authorized, brl(100, 60, 0), order.Unchanged, order.Authorized, brl(100, 100, 0)},
			{order.Paid, brl(100, 60, 0), order.Applied, order.Paid, brl(100, 60, 0)},
			{order.Paid, brl(100, 60, 0), order.Unchanged, order.Paid, brl(100, 60, 0)},
			{order.PartiallyRefunded, brl(100, 60, 10), order.Applied, order.PartiallyRefunded, brl(100, 60, 10)},
			{order.Refunded, brl(100, 60, 60), order.Applied, order.Refunded, brl(100, 60, 60)},
		},
		"a lower value without the authorized sum is no capture": {
			{order.Authorized, brl(100, 100, 0), order.Applied, order.Authorized, brl(100, 100, 0)},
			{order.Paid, brl(0, 60, 0), order.Illegal, order.Authorized, brl(100, 100, 0)},
			{order.Paid, brl(90, 60, 0), order.Illegal, order.Authorized, brl(100, 100, 0)},
			{order.Paid, brl(100, 160, 0), order.Illegal, order.Authorized, brl(100, 100, 0)},
		},
		"the value is fixed once it is paid": {
			{order.Paid, brl(100, 100, 0), order.Applied, order.Paid, brl(100, 100, 0)},
			{order.Settled, brl(100, 60, 0), order.Illegal, order.Paid, brl(100, 100, 0)},
			{order.Settled, brl(100, 101, 0), order.Illegal, order.Paid, brl(100, 100, 0)},
		},
		"sums that are gross of refunds": {
			{order.Paid, brl(100, 100, 0), order.Applied, order.Paid, brl(100, 100, 0)},
			{order.PartiallyRefunded, brl(100, 100, 50), order.Applied, order.PartiallyRefunded, brl(100, 100, 50)},
			{order.Refunded, brl(100, 100, 100), order.Applied, order.Refunded, brl(100, 100, 100)},
		},
		"sums that are net of refunds": {
			{order.Paid, brl(100, 100, 0), order.Applied, order.Paid, brl(100, 100, 0)},
			{order.PartiallyRefunded, brl(100, 70, 30), order.Applied, order.PartiallyRefunded, brl(100, 100, 30)},
			{order.Refunded, brl(100, 50, 50), order.Applied, order.PartiallyRefunded, brl(100, 100, 50)}, // An adapter that takes it for gross.
			{order.Refunded, brl(100, 100, 100), order.Applied, order.Refunded, brl(100, 100, 100)},
		},
		"a refund of what was never captured is a cancellation": {
			{order.Authorized, brl(100, 100, 0), order.Applied, order.Authorized, brl(100, 100, 0)},
			{order.Refunded, brl(100, 100, 0), order.Applied, order.Canceled, brl(100, 100, 0)},
			{order.Refunded, brl(100, 100, 0), order.Unchanged, order.Canceled, brl(100, 100, 0)},
		},
		"it is one from nothing too": {
			{order.Refunded, brl(100, 100, 0), order.Applied, order.Canceled, brl(100, 100, 0)},
		},
		"but the whole was refunded where it was paid": {
			{order.Authorized, brl(100, 100, 0), order.Applied, order.Authorized, brl(100, 100, 0)},
			{order.Paid, brl(100, 60, 0), order.Applied, order.Paid, brl(100, 60, 0)},
			{order.Refunded, brl(100, 100, 0), order.Applied, order.Refunded, brl(100, 60, 60)},
		},
		"also where it was canceled meanwhile": {
			{order.Paid, brl(100, 100, 0), order.Applied, order.Paid, brl(100, 100, 0)},
			{order.Canceled, brl(100, 100, 0), order.Applied, order.Canceled, brl(100, 100, 0)},
			{order.Refunded, brl(100, 100, 0), order.Unconfirmed, order.Canceled, brl(100, 100, 0)},
		},
		"an answer that names nothing captured agrees by the authorized sum": {
			{order.Authorized, brl(100, 100, 0), order.Applied, order.Authorized, brl(100, 100, 0)},
			{order.Paid, brl(100, 60, 0), order.Applied, order.Paid, brl(100, 60, 0)},
			{order.Canceled, brl(100, 100, 0), order.Applied, order.Canceled, brl(100, 60, 0)},
		},
		"another currency": {
			{order.Pending, brl(0, 100, 0), order.Applied, order.Pending, brl(0, 100, 0)},
			{order.Paid, dollars, order.Illegal, order.Pending, brl(0, 100, 0)},
			{order.Paid, nil, order.Applied, order.Paid, brl(0, 100, 0)},
		},
		"a value that nobody had named": {
			{order.Pending, nil, order.Applied, order.Pending, nil},
			{order.Paid, brl(0, 100, 0), order.Applied, order.Paid, brl(0, 100, 0)},
		},
	} {
		var s order.Standing
		var last *order.Event
		at := start
		for i, say := range story {
			at = at.Add(1)
			o := money(say.status, say.amount)
			after, got := s.Fold(o, at)
			if fresh, again := order.StandingOf(last).Fold(o, at); again != got || fresh.Status != after.Status {
				t.Errorf("%s: answer %d is %s all along and %s from the event", name, i, got, again)
			}
			if got == order.Applied {
				event := order.Announce(last, o, uint64(i+1), after)
				last = &event
			}
			s = after
			if got != say.outcome || last.Status != say.after || (last.Amount == nil) != (say.log == nil) || last.Amount != nil && *last.Amount != *say.log {
				t.Errorf("%s: answer %d is %s, and the log says %s of %+v, want %s, %s of %+v", name, i, got, last.Status, last.Amount, say.outcome, say.after, say.log)
			}
		}
	}
}
