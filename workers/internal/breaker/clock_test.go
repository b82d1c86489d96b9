package breaker

import (
	"testing"
	"time"

	"arauto/schemas/record"
)

// TestAProbeIsDueOnceTheClockWasSetBack reads the record of a circuit that was opened while the
// broker's clock was ahead.
func TestAProbeIsDueOnceTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	at := time.Now()
	e := entry{sequence: 1, at: at, Circuit: record.Circuit{State: record.CircuitOpen, Cause: causeOutage, Wait: 2 * time.Second}}
	for back, want := range map[time.Duration]time.Duration{0: e.Wait, time.Second: e.Wait + time.Second, time.Hour: 0} {
		if wait, ok := e.probeIn(at.Add(-back), "a"); wait != want || !ok {
			t.Errorf("with a clock set back by %v a probe is due in %v (%v), want %v", back, wait, ok, want)
		}
	}
	e.Cause = causeOperator
	if _, ok := e.probeIn(at.Add(-time.Hour), "a"); ok {
		t.Error("a circuit that an operator has opened may be probed")
	}
}
