package lookup_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"arauto/schemas/order"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/workers/internal/circuit"
	"arauto/workers/lookup"
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
func (r *rig) probeDue(w *lookup.Worker, account string) {
	r.t.Helper()
	r.until("is a probe due", func() bool { return !w.Circuits.Acquire("sandbox", account, 0).Held })
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

// refuses makes the provider refuse the credential for one payment, and answer
// about the others.
func (r *rig) refuses(bad string) {
	r.script(func(payment string, _ int) (int, string) {
		if payment == bad {
			return http.StatusForbidden, `{"error":"no"}`
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
}

// patient makes r's worker one whose circuits open for minutes of a clock that
// the test turns, so that nothing parked comes due by itself.
func (r *rig) patient() (turn func(time.Duration)) {
	r.t.Helper()
	r.worker = r.gated(plenty)
	var ahead atomic.Int64
	r.worker.Circuits.First, r.worker.Circuits.Longest = time.Minute, time.Minute
	r.worker.Circuits.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	return func(d time.Duration) { ahead.Add(int64(d)) }
}

// proven is a rig in which one payment was refused, and another one has proved
// the credential since.
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

// A provider may refuse one payment alone, because of its id, or because it is
// another store's.
func TestPaymentThatAloneIsRefusedEndsInALetterAndStopsNobody(t *testing.T) {
	t.Parallel()
	r := proven(t)
	closed := r.circuit("default")
	m := r.notify("bad") // Told of again, it is asked for at once.
	r.handle(m)
	if p := r.parked("bad").Parked; p.Covers != m.sequence || !p.Refused {
		t.Errorf("told of again it is parked as %+v", p)
	}
	for i := range len(offsets) {
		r.fire("bad")
		p := r.parked("bad").Parked
		if p.Reason != "refused" || p.Attempts != i || p.FirstFailure == nil || p.DueAt.Sub(*p.FirstFailure) != offsets[i] {
			t.Fatalf("refusal %d parks %+v", i+1, p)
		}
	}
	r.fire("bad")
	letters := r.letters()
	if len(letters) != 1 || letters[0].Class != record.ClassProvider || letters[0].Sequence != m.sequence || letters[0].LastAnswer != "refused" {
		t.Errorf("letters are %+v", letters)
	}
	if c := r.circuit("default"); !c.Since.Equal(closed.Since) || c.State != record.CircuitClosed {
		t.Errorf("the circuit was closed at %v, and is %+v", closed.Since, c)
	}
}

func TestCredentialThatIsRevokedAgainStopsTheAccountAgain(t *testing.T) {
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

// A token endpoint that refuses, or the provider's word, is about every payment.
func TestCredentialThatIsRefusedItselfStopsTheAccountWhicheverPaymentAsks(t *testing.T) {
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
	if p := r.parked("bad").Parked; !before.Refused || p.Reason != "credential" || p.Attempts != before.Attempts {
		t.Errorf("parked was %+v and is %+v", before, p)
	}
}

// Who only waited for others has not been refused yet, and speaks for all.
func TestRefusalOfAPaymentThatWasHeldStopsTheAccount(t *testing.T) {
	t.Parallel()
	r := setup(t)
	turn := r.patient()
	r.refuses("bad")
	r.handle(r.notify("bad"))
	r.handle(r.notify("held"))
	if p := r.parked("held").Parked; p.Reason != "credential" || p.Refused || r.lookups("held") != 0 {
		t.Fatalf("held is parked as %+v", p)
	}
	turn(time.Minute)
	r.handle(r.notify("good"))
	r.fails(http.StatusUnauthorized)
	r.fire("held")
	if c := r.circuit("default"); c.State != record.CircuitOpen {
		t.Errorf("the circuit is %+v", c)
	}
	if p := r.parked("held").Parked; p.Reason != "credential" || !p.Refused || p.FirstFailure != nil {
		t.Errorf("it is parked as %+v", p)
	}
}
