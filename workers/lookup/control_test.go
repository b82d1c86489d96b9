package lookup_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
	"arauto/schemas/subject"
	"arauto/workers/internal/consume"
	"arauto/workers/lookup"
)

// page is a firewall's answer.
const page = "<html><h1>403 Forbidden</h1></html>"

// A forged webhook may name an id that a firewall refuses.
func TestFirewallsRefusalOfOnePaymentStopsNoOther(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.patient()
	r.script(func(payment string, _ int) (int, string) {
		if payment == "forged" {
			return http.StatusForbidden, page
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	r.handle(r.notify("forged"))
	if c := r.circuit("default"); c.State != record.CircuitClosed {
		t.Errorf("the circuit is %+v", c)
	}
	for i := range 10 {
		payment := fmt.Sprintf("real-%d", i)
		r.handle(r.notify(payment))
		if got := r.last(payment).Observation.Status; got != "refunded" {
			t.Errorf("a real payment is %q", got)
		}
	}
	for i := range len(offsets) {
		if p := r.parked("forged").Parked; p.Reason != "refused" || p.Attempts != i || p.Refused() {
			t.Fatalf("refusal %d parks %+v", i+1, p)
		}
		r.fire("forged")
	}
	if deadLetters := r.deadLetters(); len(deadLetters) != 1 || deadLetters[0].LastAnswer != "refused" || deadLetters[0].Class != record.ClassProvider {
		t.Errorf("dead letters are %+v", deadLetters)
	}
}

// opened is a rig whose account has an answered payment, and then an open circuit whose
// probe is due.
func opened(t *testing.T) (r *rig, turn func(time.Duration)) {
	t.Helper()
	r = setup(t)
	turn = r.patient()
	r.says("refunded", 10000, 10000)
	r.handle(r.notify("known"))
	r.script(func(string, int) (int, string) { return http.StatusUnauthorized, "" })
	r.handle(r.notify("first"))
	if c := r.circuit("default"); c.State != record.CircuitOpen {
		t.Fatalf("a refused credential leaves the circuit %+v", c)
	}
	turn(time.Minute)
	return r, turn
}

func TestCircuitProbeUsesTheControlPayment(t *testing.T) {
	t.Parallel()
	r, _ := opened(t)
	r.script(func(payment string, _ int) (int, string) {
		if payment == "known" {
			return http.StatusOK, state(payment, "refunded", 10000, 10000)
		}
		return http.StatusForbidden, `{"error":"not yours"}`
	})
	r.handle(r.notify("forged"))
	if c := r.circuit("default"); c.State != record.CircuitClosed || r.lookups("known") != 3 {
		t.Errorf("after %d look-ups of the known payment the circuit is %+v", r.lookups("known"), c)
	}
	if p := r.parked("forged").Parked; r.lookups("forged") != 1 || p.Reason != "refused" || p.FirstFailure == nil {
		t.Errorf("after %d look-ups the forged payment is parked as %+v", r.lookups("forged"), p)
	}
	if got := len(r.observations("known")); got != 1 {
		t.Errorf("the control payment has %d observations", got)
	}
}

func TestTaskSpendsNothingWhileTheControlPaymentIsRefused(t *testing.T) {
	t.Parallel()
	r, turn := opened(t)
	r.handle(r.notify("second"))
	if p := r.parked("second").Parked; r.lookups("second") != 0 || r.lookups("known") != 3 || p.Reason != "credential" || p.Refused() || p.FirstFailure != nil {
		t.Errorf("after %d look-ups it is parked as %+v", r.lookups("second"), p)
	}
	// The control payment may be refused alone by now, so the next probe is about the task's.
	r.script(func(payment string, _ int) (int, string) {
		if payment == "known" {
			return http.StatusForbidden, `{"error":"not yours"}`
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	turn(time.Minute)
	r.handle(r.notify("third"))
	if c := r.circuit("default"); c.State != record.CircuitClosed || r.lookups("third") != 1 || r.lookups("known") != 3 {
		t.Errorf("after %d look-ups the circuit is %+v", r.lookups("third"), c)
	}
}

func TestMessageIsRedeliveredIfTheControlPaymentGetsNoAnswer(t *testing.T) {
	t.Parallel()
	r, _ := opened(t)
	r.fails(http.StatusBadGateway)
	m := r.notify("second")
	if err := r.worker.HandleNotification(r.Ctx, m); !errors.Is(err, consume.ErrRetryLater) || r.lookups("second") != 0 {
		t.Errorf("after %d look-ups: %v", r.lookups("second"), err)
	}
	if c := r.circuit("default"); c.State != record.CircuitOpen {
		t.Errorf("the circuit is %+v", c)
	}
}

// The page of a proxy in front of the provider counts like no answer.
func TestUnusableAnswersStartAPause(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		pauses bool
	}{
		"a page":                     {http.StatusOK, true},
		"a firewall's page":          {http.StatusForbidden, true},
		"a redirect":                 {http.StatusFound, true},
		"a question that is refused": {http.StatusUnprocessableEntity, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			w := r.limited(plenty)
			w.Outage.First, w.Outage.Longest = time.Hour, time.Hour
			r.script(func(string, int) (int, string) { return c.status, page })
			for i := range 5 {
				r.Must(w.HandleNotification(r.Ctx, r.told("default", fmt.Sprintf("p-%d", i))))
			}
			err := w.HandleNotification(r.Ctx, r.told("default", "late"))
			if errors.Is(err, consume.ErrRetryLater) != c.pauses || (r.lookups("late") == 0) != c.pauses {
				t.Errorf("after five it is asked %d times more: %v", r.lookups("late"), err)
			}
		})
	}
}

// TestFirewallPausesAHostOnlyIfItRefusesTheControlPayment has 25 forged webhooks in a row, whose
// ids a firewall refuses, and then a firewall that refuses every payment.
func TestFirewallPausesAHostOnlyIfItRefusesTheControlPayment(t *testing.T) {
	t.Parallel()
	for name, pauses := range map[string]bool{"forged ids alone are refused": false, "every payment is refused": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := setup(t)
			w := r.limited(plenty)
			w.Outage.First, w.Outage.Longest = time.Hour, time.Hour
			r.Must(w.HandleNotification(r.Ctx, r.told("default", "known")))
			r.script(func(payment string, _ int) (int, string) {
				if pauses || strings.HasPrefix(payment, "forged") {
					return http.StatusForbidden, page
				}
				return http.StatusOK, state(payment, "refunded", 10000, 10000)
			})
			began := time.Now()
			for i := range 25 {
				err := w.HandleNotification(r.Ctx, r.told("default", fmt.Sprintf("forged-%d", i)))
				if err != nil && (!pauses || !errors.Is(err, consume.ErrRetryLater)) {
					t.Errorf("forged webhook %d: %v", i, err)
				}
			}
			err := w.HandleNotification(r.Ctx, r.told("acme", "real"))
			if errors.Is(err, consume.ErrRetryLater) != pauses || (r.lookups("real") == 0) != pauses {
				t.Errorf("a payment of another account is asked for %d times: %v", r.lookups("real"), err)
			}
			if got, most := r.lookups("known"), 3+int(time.Since(began).Seconds()); got < 2 || got > most {
				t.Errorf("the control payment is asked for %d times, want 2 to %d", got, most)
			}
		})
	}
}

// A pause caused by forged webhooks ends with its first probe.
func TestOutageProbeUsesTheControlPayment(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.script(func(payment string, _ int) (int, string) {
		if strings.HasPrefix(payment, "forged") {
			return http.StatusOK, page
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	w := r.limited(plenty)
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "known")))
	for i := range 5 {
		r.Must(w.HandleNotification(r.Ctx, r.told("default", fmt.Sprintf("forged-%d", i))))
	}
	m := r.told("default", "forged-probe")
	r.Until("a probe asks", func() bool { return !errors.Is(w.HandleNotification(r.Ctx, m), consume.ErrRetryLater) })
	r.Must(w.HandleNotification(r.Ctx, r.told("default", "real")))
	if r.lookups("known") != 2 || r.lookups("real") != 1 {
		t.Errorf("%d look-ups of the known payment, %d of the real one", r.lookups("known"), r.lookups("real"))
	}
}

// One of two workers cannot reach the provider. The other one is answered for every
// payment, although a pause would outlast this test.
func TestWorkerWithoutEgressPausesOnlyItself(t *testing.T) {
	t.Parallel()
	r := setup(t)
	paused := make(chan struct{})
	r.script(func(payment string, _ int) (int, string) {
		select {
		case <-paused:
		case <-r.Ctx.Done():
		}
		return http.StatusOK, state(payment, "refunded", 10000, 10000)
	})
	const all = 200
	for i := range all {
		r.told("default", fmt.Sprintf("p-%d", i))
	}
	healthy, sick := r.limited(plenty), r.limited(plenty)
	for _, w := range []*lookup.Worker{healthy, sick} {
		w.Outage.First, w.Outage.Longest = 10*time.Minute, 10*time.Minute
	}
	for name, a := range sick.Accounts {
		a.Settings = map[string]string{"base_url": "http://127.0.0.1:1", "token": "t"}
		sick.Accounts[name] = a
	}
	r.run(healthy)
	r.Until("the healthy one is at work", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.asked) > 0
	})
	r.run(sick)
	// Only look-ups that are answered after their worker has seen the open circuit close it. The
	// sick one has no room already before it has written that.
	r.Until("the healthy one sees the pause", func() bool { return healthy.Outage.Room(1) == 0 })
	close(paused)
	failed := func() (n int) {
		for _, p := range testbench.Documents[record.ScheduledLookUp](r.Bench, subject.LookupRetries, "lookup.parked.sandbox.*.*") {
			if p.Reason == "transport" {
				n++
			}
		}
		return n
	}
	r.Until("every other payment is answered", func() bool { return r.count(subject.Statuses, "statuses.sandbox.*.*")+failed() >= all })
	if got := failed(); got > 5+8 { // The failures that start a pause, and the look-ups in flight.
		t.Errorf("%d look-ups failed", got)
	}
}

// The provider answers 403 in its own words about payments that are not the account's.
func TestForgedPaymentRefusedByTheProviderStopsNoOther(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.patient()
	r.says("refunded", 10000, 10000)
	r.handle(r.notify("known"))
	for i := range 3 {
		forged, actual := fmt.Sprintf("forged-%d", i), fmt.Sprintf("actual-%d", i)
		r.refuses(forged)
		r.handle(r.notify(forged))
		if p := r.parked(forged).Parked; p.Reason != "refused" || p.FirstFailure == nil {
			t.Errorf("%s is parked as %+v", forged, p)
		}
		r.handle(r.notify(actual))
		if r.lookups(actual) != 1 {
			t.Errorf("%s was asked for %d times", actual, r.lookups(actual))
		}
	}
	if c := r.circuit("default"); c.State == record.CircuitOpen {
		t.Errorf("the circuit is %+v", c)
	}
}
