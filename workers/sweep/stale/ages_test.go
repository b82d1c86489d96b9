package stale_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/order"
	"arauto/workers/sweep/stale"
)

// TestPaymentsAreCountedByStatusAndAge turns the clock: a payment is counted in one group,
// that of its last event, and no more once it is final.
func TestPaymentsAreCountedByStatusAndAge(t *testing.T) {
	t.Parallel()
	r, registry := setup(t), prometheus.NewRegistry()
	s := r.sweeper(r.JS)
	s.Metrics = stale.NewMetrics(registry, "sandbox")
	r.events("waits", true, order.Pending)
	r.events("also-waits", true, order.Pending)
	r.events("moves", true, order.Pending)
	r.events("paid", true, order.Pending, order.Paid)
	r.events("over", true, order.Pending, order.Paid, order.Refunded)
	counted := func() string {
		r.Must(s.Round(r.Ctx))
		all := ""
		for _, status := range []order.Status{order.Pending, order.Paid, order.Refunded} {
			for _, age := range []string{"under_1h", "under_1d", "under_7d", "under_30d", "older"} {
				if n, _ := testbench.Metric(t, registry, "arauto_payments", "sandbox", string(status), age); n > 0 {
					all += fmt.Sprintf("%v %s %s; ", n, status, age)
				}
			}
		}
		return all
	}
	expect := func(when, want string) {
		t.Helper()
		if got := counted(); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	expect("at first", "3 pending under_1h; 1 paid under_1h; ")
	r.append("moves", order.Pending, order.Paid)
	expect("after one moved", "2 pending under_1h; 2 paid under_1h; ")
	r.clock.Turn(2 * time.Hour)
	expect("two hours later", "2 pending under_1d; 2 paid under_1d; ")
	r.clock.Turn(24 * time.Hour)
	expect("a day later", "2 pending under_7d; 2 paid under_7d; ")
	r.clock.Turn(60 * 24 * time.Hour)
	expect("two months later", "2 pending older; 2 paid older; ")
	r.clock.Turn(400 * 24 * time.Hour)
	expect("beyond the horizon", "")
}
