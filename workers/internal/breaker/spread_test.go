package breaker

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
	"arauto/schemas/record"
)

// waitFor makes n look-ups wait for a scope for a minute.
func (v *Cache) waitFor(k key, n int) {
	for range n {
		v.deferrals.add(k, v.Now(), time.Minute)
	}
}

// Others' look-ups, and those of invented payments, must not delay what waits for a circuit
// that was open for a few seconds.
func TestScheduledLookUpsOfOthersDoNotDelayAShortWait(t *testing.T) {
	t.Parallel()
	clock := testbench.NewClock(time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC))
	v := &Cache{
		Options: Options{
			Waits: Waits{First: 5 * time.Second, Longest: time.Minute, Expiry: 20 * time.Second}, Now: clock.Now,
		},
		records: map[key]entry{}, opening: map[key]bool{},
	}
	v.waitFor(key{"sandbox", "other"}, 500_000) // Invented payments of another account.
	k := key{"sandbox", "acme"}
	v.records[k] = entry{sequence: 1, at: clock.Now(), Circuit: record.Circuit{Provider: "sandbox", Account: "acme", State: record.CircuitOpen, Cause: causeCredential, Wait: 5 * time.Second, Since: clock.Now()}}
	p := v.Acquire("sandbox", "acme")
	if wait := v.Defer(p, 0.9); !p.Denied || wait > time.Minute {
		t.Errorf("the only payment that waits for a circuit of 5 s waits %v", wait)
	}
}

// What is acquired in the moment in which a host's circuit is being opened must not be
// scheduled for hours, when what comes a moment later waits for two seconds.
func TestOpeningAHostsCircuitDoesNotScheduleForHours(t *testing.T) {
	t.Parallel()
	v := &Cache{
		Options: Options{Now: time.Now},
		metrics: NewMetrics(prometheus.NewRegistry()), log: zap.NewNop(),
		records: map[key]entry{}, opening: map[key]bool{},
	}
	b := NewOutage(v, "sandbox", map[string]string{"acme": "host.test"}, OutageDefaults(time.Second))
	v.waitFor(b.byAccount()["acme"].key, 500_000)
	v.opening[b.byAccount()["acme"].key] = true
	p, ok := b.Acquire("acme")
	if ok {
		t.Fatal("allowed")
	}
	if wait, scheduled := b.Defer(p, 0.9); scheduled {
		t.Errorf("scheduled in %v", wait)
	}
	if room := b.Room(8); room != 0 {
		t.Errorf("%d look-ups are pulled that will be denied", room)
	}
}

// However many wait for a circuit, none waits for hours.
func TestNoDeferralWaitsForHours(t *testing.T) {
	t.Parallel()
	w := newWaiting(causeCredential, 0)
	w.Workers = func() int { return 3 }
	w.waitFor(w.key, 500_000)
	if wait := w.Defer(w.acquire(w.ofAccount(w.key.provider, w.key.account), w.key.account), 1); wait != 31*time.Minute {
		t.Errorf("the last waits %v", wait)
	}
}
