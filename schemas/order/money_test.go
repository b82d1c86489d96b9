package order_test

import (
	"testing"
	"time"

	"arauto/schemas/order"
)

func TestAnotherAmountOrCurrencyIsIllegal(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	see := func(status order.Status, amount *order.Amount) order.Observation {
		return order.Observation{Kind: order.Payment, Payment: "p", Status: status, ProviderStatus: string(status), Amount: amount}
	}
	own := &order.Amount{Currency: "BRL", Value: 10000}
	first := see(order.Pending, own)
	standing, outcome := order.Standing{}.Fold(first, at)
	if outcome != order.Applied {
		t.Fatalf("the first observation is %s", outcome)
	}
	event := order.Announce(nil, first, 1, standing)
	for name, c := range map[string]struct {
		amount *order.Amount
		want   order.Outcome
	}{
		"the same":         {own, order.Applied},
		"none":             {nil, order.Applied},
		"another value":    {&order.Amount{Currency: "BRL", Value: 1}, order.Illegal},
		"another currency": {&order.Amount{Currency: "USD", Value: 10000}, order.Illegal},
	} {
		// A worker that has folded all along and one that starts from the event agree.
		for from, s := range map[string]order.Standing{"all along": standing, "the event": order.StandingOf(&event)} {
			after, outcome := s.Fold(see(order.Paid, c.amount), at)
			if outcome != c.want {
				t.Errorf("%s, from %s: %s, want %s", name, from, outcome, c.want)
			}
			if c.want == order.Illegal && after.Status != order.Pending {
				t.Errorf("%s, from %s: it moved to %s", name, from, after.Status)
			}
		}
	}
}
