package observe

import (
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/budget"
	"arauto/workers/chain"
	"arauto/workers/park"
)

func TestClassOfALookUp(t *testing.T) {
	t.Parallel()
	answered := func(o order.Observation) chain.Link { return chain.Link{Sequence: 1, Observation: o} }
	fact := answered(order.Observation{Confirmed: true, Status: order.Paid, ProviderStatus: "paid"})
	fired := func(cause order.Cause, unknown int) task {
		return task{cause: cause, fired: &record.Parked{NotFound: unknown}}
	}
	for name, c := range map[string]struct {
		task    task
		last    chain.Link
		waiting park.Place
		want    budget.Class
	}{
		"a first webhook":              {task{cause: order.CauseNotification}, chain.Link{}, park.Place{}, budget.Unasked},
		"its retry":                    {fired(order.CauseNotification, 0), chain.Link{}, park.Place{}, budget.Unasked},
		"a later webhook":              {task{cause: order.CauseNotification}, fact, park.Place{}, budget.Known},
		"a word that we do not know":   {task{cause: order.CauseNotification}, answered(order.Observation{Confirmed: true, ProviderStatus: "x"}), park.Place{}, budget.Known},
		"a believed webhook":           {task{cause: order.CauseNotification}, answered(order.Observation{Status: order.Paid, ProviderStatus: "PAID"}), park.Place{}, budget.Unasked},
		"what does not decode":         {task{cause: order.CauseNotification}, answered(order.Observation{}), park.Place{}, budget.Unasked},
		"an unknown payment":           {fired(order.CauseNotification, 1), chain.Link{}, park.Place{}, budget.Unknown},
		"one that is told of again":    {task{cause: order.CauseNotification}, chain.Link{}, park.Place{Parked: record.Parked{NotFound: 2}}, budget.Unknown},
		"one that was known before":    {fired(order.CauseNotification, 1), fact, park.Place{}, budget.Known},
		"a recheck":                    {fired(order.CauseRecheck, 0), chain.Link{}, park.Place{}, budget.Known},
		"a confirmation":               {fired(order.CauseConfirmation, 0), chain.Link{}, park.Place{}, budget.Known},
		"a sweep's":                    {fired(order.CauseSweep, 0), chain.Link{}, park.Place{}, budget.Known},
		"an operator's":                {fired(order.CauseOperator, 0), chain.Link{}, park.Place{}, budget.Known},
		"an operator's of a forged id": {fired(order.CauseOperator, 1), chain.Link{}, park.Place{}, budget.Unknown},
	} {
		if got := class(c.task, c.last, c.waiting); got != c.want {
			t.Errorf("%s has class %d, want %d", name, got, c.want)
		}
	}
}

func TestSlowdownGrowsWithTheShareOfUnknownPayments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ known, unknown, want float64 }{
		{0, 0, 1}, {0, 49, 1}, {0, 50, 4}, {0, 1e6, 4}, {50, 0, 1}, {50, 50, 1}, {100, 50, 1}, {25, 75, 2.5}, {10, 90, 3.4},
	} {
		if got := slowdown(c.known, c.unknown); got < c.want-1e-9 || got > c.want+1e-9 {
			t.Errorf("with %v known and %v unknown payments they wait %v times as long, want %v", c.known, c.unknown, got, c.want)
		}
	}
}
