package lookup_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"arauto/workers/internal/breaker"
)

// TestAccountProbesBehindTheMessagesOfAnother has one account of a host fail, and a second one of
// the same host be told of a payment behind the messages of the first. Its look-up would close
// the circuit, and must not wait until the others' have been made, one for each probe.
func TestAccountProbesBehindTheMessagesOfAnother(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.script(func(payment string, _ int) (int, string) {
		if strings.HasPrefix(payment, "bad") {
			return http.StatusInternalServerError, ""
		}
		return http.StatusOK, state(payment, "paid", 10000, 0)
	})
	const host, failures, failing = "sandbox.test", 20, 60
	asked := func() (n int) {
		for i := range failing {
			n += r.lookups(fmt.Sprintf("bad-%d", i))
		}
		return n
	}
	w := r.limited(plenty)
	w.Outage = breaker.NewOutage(w.Circuits, "sandbox", map[string]string{"default": host, "acme": host}, breaker.OutageOptions{
		Waits:    breaker.Waits{First: time.Second, Longest: time.Minute, Expiry: 20 * time.Second},
		Failures: failures, Window: 30 * time.Second,
	})
	for i := range failing {
		r.told("default", fmt.Sprintf("bad-%d", i))
	}
	r.run(w)
	r.Until("the host's circuit to open", func() bool { return asked() >= failures })
	r.told("acme", "good")
	r.Until("the other account to be asked", func() bool { return r.lookups("good") > 0 })
	if n := asked(); n >= failing {
		t.Errorf("the failing account was asked %d times before", n)
	}
}
