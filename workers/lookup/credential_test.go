package lookup_test

import (
	"net/http"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/workers/internal/breaker"
	"arauto/workers/lookup"
)

// circuit reads the record of an account's circuit breaker.
func (r *rig) circuit(account string) record.Circuit {
	r.T.Helper()
	store, err := breaker.Open(r.Ctx, r.JS)
	r.Must(err)
	all, err := store.List(r.Ctx)
	r.Must(err)
	for _, c := range all {
		if c.Account == account {
			return c
		}
	}
	return record.Circuit{State: record.CircuitClosed}
}

// probeDue waits until a probe of the account's open circuit is due.
func (r *rig) probeDue(w *lookup.Worker, account string) {
	r.T.Helper()
	r.Until("a probe is due", func() bool { return !w.Circuits.Acquire("sandbox", account).Denied })
}

func TestOnlyAProvidersAnswerClosesTheCircuit(t *testing.T) {
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
			w := r.limited(plenty)
			r.fails(http.StatusUnauthorized)
			r.Must(w.HandleNotification(r.Ctx, r.told("acme", "first")))
			r.probeDue(w, "acme")
			r.script(func(string, int) (int, string) { return c.status, c.body })
			r.Must(w.HandleNotification(r.Ctx, r.told("acme", "probe")))
			if got := r.circuit("acme"); r.lookups("probe") != 1 || got.State != c.want {
				t.Errorf("after %d look-ups the circuit is %+v, want it %s", r.lookups("probe"), got, c.want)
			}
			if c.want == record.CircuitOpen {
				r.probeDue(w, "acme") // The probe's record was replaced.
			}
		})
	}
}

// refuses makes the provider refuse the credential for one payment, and answer for the
// others.
func (r *rig) refuses(bad string) {
	r.script(func(payment string, _ int) (int, string) {
		if payment == bad {
			return http.StatusForbidden, `{"error":"no"}`
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
}

// patient gives r's worker circuits that open for minutes of a clock that the test sets,
// so that no scheduled look-up becomes due by itself.
func (r *rig) patient() (turn func(time.Duration)) {
	r.T.Helper()
	r.worker = r.limited(plenty)
	var clock testbench.Clock
	r.worker.Circuits.First, r.worker.Circuits.Longest = time.Minute, time.Minute
	r.worker.Circuits.Now = clock.Now
	return clock.Advance
}

// proven is a rig in which the credential was refused for one payment, and then proved
// by another.
func proven(t *testing.T) *rig {
	t.Helper()
	r := setup(t)
	turn := r.patient()
	r.refuses("bad")
	r.handle(r.notify("bad"))
	if c := r.circuit("default"); c.State != record.CircuitOpen {
		t.Fatalf("a refused credential leaves the circuit %+v", c)
	}
	turn(time.Minute)
	r.handle(r.notify("good"))
	if c := r.circuit("default"); c.State != record.CircuitClosed {
		t.Fatalf("a fact leaves the circuit %+v", c)
	}
	return r
}

// A provider may refuse one payment alone, because of its id, or because it belongs to
// another store.
func TestPaymentRefusedAloneIsDeadLettered(t *testing.T) {
	t.Parallel()
	r := proven(t)
	closed := r.circuit("default")
	m := r.notify("bad") // Another webhook leads to a look-up at once.
	r.handle(m)
	if p := r.parked("bad").Parked; p.Covers != m.Sequence || !p.Refused() {
		t.Errorf("after another webhook the scheduled look-up is %+v", p)
	}
	for i := range len(offsets) {
		r.fire("bad")
		p := r.parked("bad").Parked
		if p.Reason != "refused" || p.Attempts != i || p.FirstFailure == nil || p.DueAt.Sub(*p.FirstFailure) != offsets[i] {
			t.Fatalf("refusal %d parks %+v", i+1, p)
		}
	}
	r.fire("bad")
	deadLetters := r.deadLetters()
	if len(deadLetters) != 1 || deadLetters[0].Class != record.ClassProvider || deadLetters[0].Sequence != m.Sequence || deadLetters[0].LastAnswer != "refused" {
		t.Errorf("dead letters are %+v", deadLetters)
	}
	if c := r.circuit("default"); !c.Since.Equal(closed.Since) || c.State != record.CircuitClosed {
		t.Errorf("the circuit was closed at %v, and is %+v", closed.Since, c)
	}
}

func TestCredentialRevokedAgainOpensTheCircuit(t *testing.T) {
	t.Parallel()
	r := proven(t)
	r.fire("bad")
	before := r.parked("bad").Parked
	if before.FirstFailure == nil {
		t.Fatalf("its second refusal parks %+v", before)
	}
	r.fails(http.StatusUnauthorized)
	r.handle(r.notify("other"))
	if c := r.circuit("default"); c.State != record.CircuitOpen {
		t.Fatalf("another payment's refusal leaves the circuit %+v", c)
	}
	r.fire("bad")
	after := r.parked("bad").Parked
	if after.Reason != "credential" || after.Attempts != before.Attempts || after.FirstFailure == nil || !after.FirstFailure.Equal(*before.FirstFailure) || r.lookups("bad") != 2 {
		t.Errorf("while the circuit is open parked was %+v and is %+v, after %d look-ups", before, after, r.lookups("bad"))
	}
}

// A token endpoint's refusal, or a revoked credential, is about every payment.
func TestRevokedCredentialOpensTheCircuitForAnyPayment(t *testing.T) {
	t.Parallel()
	r := proven(t)
	r.fire("bad")
	before := r.parked("bad").Parked
	r.worker.Provider.Answer = func(provider.Target, provider.Account, provider.Reply) (order.Fact, error) {
		return order.Fact{}, provider.ErrRevoked
	}
	r.fire("bad")
	if c := r.circuit("default"); c.State != record.CircuitOpen {
		t.Errorf("the circuit is %+v", c)
	}
	if p := r.parked("bad").Parked; !before.Refused() || p.Reason != "credential" || p.Attempts != before.Attempts {
		t.Errorf("parked was %+v and is %+v", before, p)
	}
}

// A payment that was only deferred has not been refused itself yet, so its refusal is
// about every payment.
func TestRefusalOfADeferredPaymentOpensTheCircuit(t *testing.T) {
	t.Parallel()
	r := setup(t)
	turn := r.patient()
	r.refuses("bad")
	r.handle(r.notify("bad"))
	r.handle(r.notify("held"))
	if p := r.parked("held").Parked; p.Reason != "credential" || p.Refused() || r.lookups("held") != 0 {
		t.Fatalf("held is parked as %+v", p)
	}
	turn(time.Minute)
	r.handle(r.notify("good"))
	r.fails(http.StatusUnauthorized)
	r.fire("held")
	if c := r.circuit("default"); c.State != record.CircuitOpen {
		t.Errorf("the circuit is %+v", c)
	}
	if p := r.parked("held").Parked; p.Reason != "credential" || !p.Refused() || p.FirstFailure != nil {
		t.Errorf("it is parked as %+v", p)
	}
}
