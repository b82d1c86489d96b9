package lookup_test

import (
	"maps"
	"net/http"
	"testing"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/provider"
	"arauto/schemas/record"
	"arauto/workers/internal/ratelimit"
	"arauto/workers/lookup"
)

// setupOf is what w has, with the account default given another token.
func setupOf(w *lookup.Worker, token string) lookup.Setup {
	accounts := maps.Clone(w.Accounts)
	a := accounts["default"]
	a.Settings = maps.Clone(a.Settings)
	a.Settings["token"] = token
	accounts["default"] = a
	return lookup.Setup{Accounts: accounts, Policy: w.Policy, Rates: w.Rates}
}

// A refusal of the credential before, after which the new one is in use, is no refusal.
func TestRefusalOfAReplacedCredentialIsAskedAgain(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.worker = r.limited(plenty)
	asked, replaced := make(chan struct{}, 1), make(chan struct{})
	r.script(func(payment string, times int) (int, string) {
		if times == 1 {
			asked <- struct{}{}
			<-replaced
			return http.StatusUnauthorized, `{"error":"no"}`
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	m := r.told("default", "p")
	handled := make(chan error, 1)
	go func() { handled <- r.worker.HandleNotification(r.Ctx, m) }()
	testbench.Receive(t, "the provider is asked", asked)
	r.worker.Replace(setupOf(r.worker, "new"))
	close(replaced)
	r.Must(testbench.Receive(t, "the look-up ends", handled))
	if r.lookups("p") != 2 || r.last("p").Sequence == 0 || r.parked("p").Sequence != 0 {
		t.Errorf("%d look-ups, observation %+v, scheduled %+v", r.lookups("p"), r.last("p"), r.parked("p"))
	}
	if c := r.circuit("default"); c.State != record.CircuitClosed || c.By != "" {
		t.Errorf("the circuit is %+v", c)
	}
	// One refusal with the credential in use is one look-up, and opens the circuit.
	r.fails(http.StatusUnauthorized)
	r.Must(r.worker.HandleNotification(r.Ctx, r.told("default", "q")))
	if c := r.circuit("default"); c.State != record.CircuitOpen {
		t.Errorf("after a refusal the circuit is %+v", c)
	}
}

func TestAccountIsAddedAndRemoved(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.worker = r.limited(plenty)
	whole := setupOf(r.worker, "t")
	less := lookup.Setup{Accounts: map[string]provider.Account{"default": whole.Accounts["default"]}, Policy: whole.Policy,
		Rates: map[string]*ratelimit.Limiter{"default": whole.Rates["default"]}}
	r.worker.Replace(less)
	r.handle(r.notify("p"))
	r.Must(r.worker.HandleNotification(r.Ctx, r.told("acme", "q")))
	parked, err := r.retries.Read(r.Ctx, "sandbox", "acme", "q")
	r.Must(err)
	if r.lookups("p") != 1 || r.lookups("q") != 0 || parked.Sequence == 0 || len(r.deadLetters()) != 0 {
		t.Fatalf("an account that was removed: %d look-ups, scheduled %+v, dead letters %+v", r.lookups("q"), parked, r.deadLetters())
	}
	r.worker.Replace(whole)
	r.due(parked)
	last, err := r.statuses.Last(r.Ctx, r.Tokens.Unit("sandbox", "acme", "q"))
	r.Must(err)
	if r.lookups("q") != 1 || last.Sequence == 0 {
		t.Errorf("an account that was added: %d look-ups, observation %+v", r.lookups("q"), last)
	}
}
