package commit

import (
	"testing"
	"time"
)

// measure has a broker that takes so long for a message and for a batch, and returns the
// threshold that is found.
func measure(t *testing.T, alone, batch time.Duration) int {
	t.Helper()
	var m costs
	now := time.Unix(1000, 0)
	for m.alone.samples < costSamples {
		if got := m.threshold(); got != maxThreshold {
			t.Fatalf("the threshold is %d while messages alone are measured", got)
		}
		m.sent(now)
		for left := 7; left >= 0; left-- {
			now = now.Add(alone)
			m.acked(left, now)
		}
	}
	for i := range costSamples {
		if got := m.threshold(); got != minBatchSize {
			t.Fatalf("the threshold is %d while batches are measured", got)
		}
		took := batch + time.Duration(float64(8*alone)*marginalCost)
		if i != 3 {
			took *= 100 // A stall.
		}
		m.batchAcked(8, took)
	}
	return m.threshold()
}

func TestThresholdIsWhereABatchTakesLessTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		alone, batch time.Duration
		want         int
	}{
		{400 * time.Microsecond, 6 * time.Millisecond, 19},             // Staged in files.
		{400 * time.Microsecond, 500 * time.Microsecond, minBatchSize}, // Staged in memory.
		{10 * time.Microsecond, 100 * time.Millisecond, maxThreshold},  // Batches never pay.
		{time.Millisecond, 4 * time.Millisecond, 5},                    // A slow disk.
	} {
		if got := measure(t, c.alone, c.batch); got != c.want {
			t.Errorf("%v a message and %v a batch: %d, want %d", c.alone, c.batch, got, c.want)
		}
	}
}

// Acks come many at a time, which says nothing of the time that one message takes.
func TestBurstOfAcksIsNoSample(t *testing.T) {
	t.Parallel()
	var m costs
	now := time.Unix(1000, 0)
	m.sent(now)
	for range 100 {
		now = now.Add(8 * time.Millisecond)
		for range 16 {
			m.acked(16, now)
		}
	}
	if m.alone.samples < costSamples || m.alone.value < 0.0004 {
		t.Errorf("%d samples, %v s a message that takes 0.0005", m.alone.samples, m.alone.value)
	}
}

// A lone message's time is mostly the round trip.
func TestLoneMessagesAreNoSample(t *testing.T) {
	t.Parallel()
	var m costs
	now := time.Unix(1000, 0)
	for range 100 {
		m.sent(now)
		now = now.Add(time.Second)
		m.acked(0, now)
	}
	if m.alone.samples > 0 {
		t.Errorf("%d samples", m.alone.samples)
	}
}
