package ratelimit

import (
	"testing"
	"time"

	"go.uber.org/zap"

	"arauto/deploy/runtime/testbench"
)

// A broker that was away for six seconds: the worker's old lease must not keep it waiting.
func TestAWorkerDoesNotWaitForItsOwnOldLease(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	m := members{others: map[string]member{}}
	m.join("one")
	m.confirmed(at, at)
	at = at.Add(5 * time.Second)
	m.join("two") // Its store fails: the broker is away.
	at = at.Add(time.Second)
	m.join("three")
	m.takeAll([]storedLease{{name: "one", sequence: 1, at: at.Add(-6 * time.Second)}, {name: "three", sequence: 2, at: at}}, at, at)
	m.confirmed(at, at)
	if m.share("") == 0 {
		t.Error("the only worker has no share: it waits for the lease that it had itself")
	}
}

// Workers that ended, or were killed, are not remembered for ever.
func TestEndedWorkersAreForgotten(t *testing.T) {
	t.Parallel()
	clock := testbench.NewClock(time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC))
	log := []storedLease{{name: "killed", sequence: 1, at: clock.Now()}, {name: "ended", sequence: 2, at: clock.Now(), lease: lease{Ended: true}}}
	f := newFleet(&reliable{log: &log, clock: clock}, []string{"sandbox"}, zap.NewNop(), clock.Now)
	l := f.Limiter("sandbox", Limit{Rate: 1, Burst: 1, Concurrency: 1})
	for second := range 90 {
		testbench.Must(t, f.renew(t.Context()))
		clock.Advance(time.Second)
		if known := len(f.members.others); second < 30 && known != 2 || second > 62 && known != 0 {
			t.Fatalf("after %d s it knows %d workers", second, known)
		}
	}
	if !l.Ready() {
		t.Error("it has no share")
	}
}
