package observe_test

import (
	"net/http"
	"testing"

	"arauto/schemas/record"
	"arauto/workers/circuit"
	"arauto/workers/lookup/observe"
)

// circuit reads the record of an account's circuit.
func (r *rig) circuit(account string) record.Circuit {
	r.t.Helper()
	board, err := circuit.Open(r.ctx, r.JS)
	r.must(err)
	all, err := board.List(r.ctx)
	r.must(err)
	for _, c := range all {
		if c.Account == account {
			return c
		}
	}
	return record.Circuit{State: record.CircuitClosed}
}

// probeDue waits until the account's open circuit lets somebody probe.
func (r *rig) probeDue(w *observe.Worker, account string) {
	r.t.Helper()
	r.until("is a probe due", func() bool { return !w.Circuits.Look("sandbox", account, 0).Held })
}

func TestOnlyAnAnswerOfTheProviderItselfClosesACircuit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		want   record.CircuitState
	}{
		"a throttling edge":  {http.StatusTooManyRequests, "", record.CircuitOpen},
		"a redirect":         {http.StatusFound, "", record.CircuitOpen},
		"a page":             {http.StatusOK, "<html>", record.CircuitOpen},
		"a refusal":          {http.StatusBadRequest, "{}", record.CircuitOpen},
		"a failure":          {http.StatusBadGateway, "", record.CircuitOpen},
		"a page not found":   {http.StatusNotFound, "<html>", record.CircuitOpen},
		"an unknown payment": {http.StatusNotFound, "{}", record.CircuitClosed},
		"a fact":             {http.StatusOK, state("probe", "refunded", 10000, 10000), record.CircuitClosed},
		"an unknown word":    {http.StatusOK, state("probe", "teleported", 10000, 0), record.CircuitClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			w := r.gated(plenty)
			r.fails(http.StatusUnauthorized)
			r.must(w.HandleNotification(r.ctx, r.told("acme", "first")))
			r.probeDue(w, "acme")
			r.script(func(string, int) (int, string) { return c.status, c.body })
			r.must(w.HandleNotification(r.ctx, r.told("acme", "probe")))
			if got := r.circuit("acme"); r.lookups("probe") != 1 || got.State != c.want {
				t.Errorf("after %d look-ups the circuit is %+v, want it %s", r.lookups("probe"), got, c.want)
			}
			if c.want == record.CircuitOpen {
				r.probeDue(w, "acme") // The claim was handed back.
			}
		})
	}
}
