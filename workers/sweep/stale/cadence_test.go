package stale

import (
	"slices"
	"testing"
	"time"

	"arauto/deploy/runtime/topology"
	"arauto/schemas/order"
	"arauto/schemas/subject"
)

func TestEveryStateThatCanMoveHasACadenceAndNoOther(t *testing.T) {
	t.Parallel()
	moves := map[order.Status]bool{}
	for _, kind := range order.Kinds() {
		for _, s := range kind.Statuses() {
			moves[s] = moves[s] || !kind.Final(s)
		}
	}
	for s, open := range moves {
		if got := Every(s, 0) > 0; got != open {
			t.Errorf("%s is asked for: %v, can move: %v", s, got, open)
		}
	}
}

func TestCadenceIsTheDocumentedOne(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	for _, tc := range []struct {
		status order.Status
		age    time.Duration
		want   time.Duration
	}{
		{order.Pending, 0, 5 * minute}, {order.Pending, hour - 1, 5 * minute},
		{order.Pending, hour, hour}, {order.Pending, day - 1, hour},
		{order.Authorized, day, 6 * hour}, {order.InAnalysis, 7*day - 1, 6 * hour},
		{order.Processing, 7 * day, day}, {order.Pending, 30 * day, 7 * day}, {order.Pending, 5000 * day, 7 * day},
		{order.Paid, 0, day}, {order.Settled, 7 * day, 7 * day}, {order.PartiallyRefunded, 90 * day, 28 * day},
		{order.Disputed, 0, 6 * hour}, {order.Disputed, 7 * day, day}, {order.Disputed, 30 * day, 7 * day},
		{order.Refunded, 0, 0}, {order.Authenticated, day, 0},
	} {
		if got := Every(tc.status, tc.age); got != tc.want {
			t.Errorf("%s for %v: asked every %v, want %v", tc.status, tc.age, got, tc.want)
		}
	}
}

func TestPausesGrowAndFitIntoWhatIsRemembered(t *testing.T) {
	t.Parallel()
	kept := time.Duration(0)
	for _, s := range topology.Streams(topology.Settings{}) {
		if s.Name == subject.Statuses {
			kept = s.MaxAge
		}
	}
	for status, steps := range cadence {
		if !slices.IsSortedFunc(steps, func(a, b step) int { return int(min(a.until-b.until, a.every-b.every)) }) {
			t.Errorf("%s: pauses or ages do not ascend: %v", status, steps)
		}
		if longest := steps[len(steps)-1].every; longest >= kept {
			t.Errorf("%s is asked for every %v, but observations are kept for %v", status, longest, kept)
		}
		if steps[len(steps)-1].until != always {
			t.Errorf("%s stops being asked for after %v, before any horizon", status, steps[len(steps)-1].until)
		}
	}
}
