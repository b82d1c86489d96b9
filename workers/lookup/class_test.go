package lookup

import (
	"testing"

	"arauto/schemas/order"
	"arauto/schemas/record"
	"arauto/workers/internal/observations"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/internal/retry"
)

func TestClassOfALookUp(t *testing.T) {
	t.Parallel()
	answered := func(o order.Observation) observations.Entry { return observations.Entry{Sequence: 1, Observation: o} }
	fact := answered(order.Observation{Confirmed: true, Status: order.Paid, ProviderStatus: "paid"})
	fired := func(cause order.Cause, unknown int) task {
		return task{ScheduledLookUp: record.ScheduledLookUp{Cause: cause, NotFound: unknown}}
	}
	fresh := fired(order.CauseNotification, 0)
	fresh.fresh = true
	for name, c := range map[string]struct {
		task   task
		last   observations.Entry
		before retry.Entry
		want   ratelimit.Class
	}{
		"a first webhook":              {fresh, observations.Entry{}, retry.Entry{}, ratelimit.Unasked},
		"its retry":                    {fired(order.CauseNotification, 0), observations.Entry{}, retry.Entry{}, ratelimit.Unasked},
		"a later webhook":              {fresh, fact, retry.Entry{}, ratelimit.Known},
		"a word that we do not know":   {fresh, answered(order.Observation{Confirmed: true, ProviderStatus: "x"}), retry.Entry{}, ratelimit.Known},
		"a believed webhook":           {fresh, answered(order.Observation{Status: order.Paid, ProviderStatus: "PAID"}), retry.Entry{}, ratelimit.Unasked},
		"what does not decode":         {fresh, answered(order.Observation{}), retry.Entry{}, ratelimit.Unasked},
		"an unknown payment":           {fired(order.CauseNotification, 1), observations.Entry{}, retry.Entry{}, ratelimit.Unknown},
		"one with another webhook":     {fresh, observations.Entry{}, retry.Entry{Parked: record.ScheduledLookUp{NotFound: 2}}, ratelimit.Unknown},
		"one that was known before":    {fired(order.CauseNotification, 1), fact, retry.Entry{}, ratelimit.Known},
		"a recheck":                    {fired(order.CauseRecheck, 0), observations.Entry{}, retry.Entry{}, ratelimit.Known},
		"a confirmation":               {fired(order.CauseConfirmation, 0), observations.Entry{}, retry.Entry{}, ratelimit.Known},
		"a sweep's":                    {fired(order.CauseSweep, 0), observations.Entry{}, retry.Entry{}, ratelimit.Known},
		"an operator's":                {fired(order.CauseOperator, 0), observations.Entry{}, retry.Entry{}, ratelimit.Known},
		"an operator's of a forged id": {fired(order.CauseOperator, 1), observations.Entry{}, retry.Entry{}, ratelimit.Unknown},
	} {
		if got := classOf(c.task, c.last, c.before); got != c.want {
			t.Errorf("%s has class %d, want %d", name, got, c.want)
		}
	}
}

func TestSlowdownGrowsWithTheShareOfUnknownPayments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ known, unknown, want float64 }{
		{0, 0, 1}, {0, 49, 1}, {0, 50, 4}, {0, 1e6, 4}, {50, 0, 1}, {50, 50, 1}, {100, 50, 1}, {25, 75, 2.5}, {10, 90, 3.4},
	} {
		if got := (&answers{known: c.known, unknown: c.unknown}).slowdown(); got < c.want-1e-9 || got > c.want+1e-9 {
			t.Errorf("with %v known and %v unknown payments they wait %v times as long, want %v", c.known, c.unknown, got, c.want)
		}
	}
}
