package breaker

import (
	"testing"
	"time"

	"arauto/schemas/record"
)

// TestStatesAndEvents walks every state and every event, for an account and for a host that
// two accounts share.
func TestStatesAndEvents(t *testing.T) {
	t.Parallel()
	const closed, open, half, held = "closed", "open", "half_open", "open by an operator"
	w := Waits{First: 5 * time.Second, Longest: time.Minute, Expiry: 20 * time.Second}
	for _, scope := range []string{"acme", record.HostScope("api.test")} {
		states := map[string]record.Circuit{
			"":     {},
			closed: {State: record.CircuitClosed, Cause: causeAnswered},
			open:   {State: record.CircuitOpen, Wait: w.First, Probes: 1, Cause: "credential"},
			half:   {State: record.CircuitHalfOpen, Wait: w.Expiry, Probes: 2, Cause: "credential"},
			held:   {State: record.CircuitOpen, Cause: causeOperator},
		}
		for _, c := range []struct {
			from string
			of   event
			to   record.CircuitState // "" if nothing changes.
			wait time.Duration
		}{
			{"", tripped, open, 5 * time.Second}, {"", probed, "", 0}, {"", answered, "", 0}, {"", failed, "", 0}, {"", unproven, "", 0},
			{"", stopped, open, 0}, {"", resumed, closed, 0},
			{closed, tripped, open, 5 * time.Second}, {closed, probed, "", 0}, {closed, answered, "", 0}, {closed, failed, "", 0}, {closed, unproven, "", 0},
			{closed, stopped, open, 0}, {closed, resumed, closed, 0},
			{open, tripped, "", 0}, {open, probed, half, 20 * time.Second}, {open, answered, closed, 0}, {open, failed, "", 0}, {open, unproven, "", 0},
			{open, stopped, open, 0}, {open, resumed, closed, 0},
			{half, tripped, "", 0}, {half, probed, half, 20 * time.Second}, {half, answered, closed, 0}, {half, failed, open, 20 * time.Second},
			{half, unproven, open, 5 * time.Second}, {half, stopped, open, 0}, {half, resumed, closed, 0},
			{held, tripped, "", 0}, {held, probed, "", 0}, {held, answered, "", 0}, {held, failed, "", 0}, {held, unproven, "", 0},
			{held, stopped, open, 0}, {held, resumed, closed, 0},
		} {
			from := states[c.from]
			from.Provider, from.Account = "sandbox", scope
			got, ok := w.next(from, c.of, scope, 1)
			if ok != (c.to != "") || ok && (got.State != c.to || got.Wait != c.wait) || got.Account != scope {
				t.Errorf("%s: %q after event %d is %+v, changed: %t", scope, c.from, c.of, got, ok)
			}
		}
	}
}

// Each account of a host may probe once before the wait grows.
func TestEachAccountOfAHostProbesBeforeTheWaitGrows(t *testing.T) {
	t.Parallel()
	w := Waits{First: 2 * time.Second, Longest: 10 * time.Second, Expiry: time.Second}
	c, _ := w.next(record.Circuit{Account: record.HostScope("api.test")}, tripped, "", 2)
	for i, step := range []struct {
		about  string
		wait   time.Duration
		others bool // Whether the other account may probe at once.
	}{
		{"acme", 2, true}, {"default", 4, false}, {"acme", 4, true}, {"acme", 8, false}, {"default", 8, true}, {"acme", 10, false},
	} {
		c, _ = w.next(c, probed, step.about, 2)
		c, _ = w.next(c, failed, step.about, 2)
		other := "acme"
		if step.about == "acme" {
			other = "default"
		}
		now := time.Now()
		wait, _ := entry{at: now, Circuit: c}.probeIn(now, other)
		if c.Wait != step.wait*time.Second || (wait == 0) != step.others {
			t.Errorf("failed probe %d: %+v; the other account may probe in %v", i+1, c, wait)
		}
	}
}
