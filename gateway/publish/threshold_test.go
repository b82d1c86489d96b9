package publish

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// disk models a broker: the time of a single message, the fixed time of a batch and that
// of each message in it, and the number of closed-loop callers.
type disk struct {
	single, fixed, each time.Duration
	callers             int
}

// work runs the broker for a span. It returns when that ended, and the time spent on
// batches and on singles.
func (d disk) work(w *batchThreshold, from, span time.Duration) (now, batches, singles time.Duration) {
	for now = from; now < from+span; {
		if d.callers >= w.current(at(now)) {
			w.batchSent()
			took := d.fixed + time.Duration(d.callers)*d.each
			now += took
			w.batchAcked(d.callers, took, at(now))
			batches += took
			continue
		}
		w.startBusy(at(now))
		took := d.single * time.Duration(d.callers)
		for left := d.callers - 1; left >= 0; left-- {
			if d.single > time.Millisecond {
				now += d.single
			} else if left == d.callers-1 {
				now += took // All in one packet.
			}
			w.singleAcked(left, at(now))
		}
		singles += took
	}
	return now, batches, singles
}

// Two measured disks, with batches staged in files and in memory.
var (
	inFiles  = disk{single: 190 * time.Microsecond, fixed: 3200 * time.Microsecond, each: 30 * time.Microsecond}
	inMemory = disk{single: 190 * time.Microsecond, fixed: 550 * time.Microsecond, each: 30 * time.Microsecond}
)

// slow is a network disk: each sync takes 20 ms.
var slow = disk{single: 20 * time.Millisecond, fixed: 45 * time.Millisecond, each: 30 * time.Microsecond}

// among returns the disk with that many callers.
func (d disk) among(callers int) disk {
	d.callers = callers
	return d
}

func TestThresholdFindsTheFasterWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		disk  disk
		batch bool
	}{
		"two":                          {inMemory.among(2), false},
		"four, staged in memory":       {inMemory.among(4), true},
		"eight, staged in memory":      {inMemory.among(8), true},
		"eight, staged in files":       {inFiles.among(8), false},
		"sixteen, staged in files":     {inFiles.among(16), false},
		"twenty, staged in memory":     {inMemory.among(20), true},
		"thirty, staged in files":      {inFiles.among(30), true},
		"forty, staged in memory":      {inMemory.among(40), true},
		"four, a slow disk":            {slow.among(4), true},
		"thirty, a slow disk":          {slow.among(30), true},
		"forty, a slow disk":           {slow.among(40), true},
		"sixty-four, staged in files":  {inFiles.among(64), true},
		"sixty-four, staged in memory": {inMemory.among(64), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var w batchThreshold
			now, _, _ := c.disk.work(&w, time.Second, time.Second)
			_, batches, singles := c.disk.work(&w, now, 20*time.Second)
			faster, slower := singles, batches
			if c.batch {
				faster, slower = batches, singles
			}
			if share := float64(slower) / float64(faster+slower); share > 0.02 {
				t.Errorf("%.1f %% of the time went to the slower way", 100*share)
			}
		})
	}
}

// TestThresholdFollowsABrokerThatChanges changes the costs, as a restart of the broker
// does, and begins with samples of a cold start.
func TestThresholdFollowsABrokerThatChanges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var w batchThreshold
		now := time.Second
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			before := disk{
				single:  time.Duration(rapid.IntRange(10, 1_500).Draw(t, "single us")) * time.Microsecond,
				fixed:   time.Duration(rapid.IntRange(1, 100_000).Draw(t, "fixed us")) * time.Microsecond,
				each:    time.Duration(rapid.IntRange(1, 1_000).Draw(t, "each us")) * time.Microsecond,
				callers: rapid.IntRange(1, 300).Draw(t, "callers"),
			}
			now, _, _ = before.work(&w, now, time.Duration(rapid.IntRange(1, 5000).Draw(t, "span ms"))*time.Millisecond)
		}
		callers := rapid.SampledFrom([]int{8, 14, 40}).Draw(t, "callers after all")
		after, batch := inFiles.among(callers), callers == 40
		if rapid.Bool().Draw(t, "in memory") {
			after, batch = inMemory.among(callers), true
		}
		now, _, _ = after.work(&w, now, 20*time.Second)
		_, batches, singles := after.work(&w, now, 5*time.Second)
		if batch && batches < 10*singles || !batch && singles < 10*batches {
			t.Errorf("%v on batches and %v on singles; the threshold is %d", batches, singles, w.learned())
		}
	})
}

func TestThresholdStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var w batchThreshold
		now := time.Duration(0)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			now += time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(t, "later"))
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				w.startBusy(at(now))
			case 1:
				w.singleAcked(rapid.IntRange(0, 3).Draw(t, "left"), at(now))
			case 2:
				w.batchSent()
			case 4:
				w.stopBusy()
			case 5:
				w.batchRefused(rapid.IntRange(1, 1000).Draw(t, "refused"), time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "refused after")), at(now))
			case 3:
				w.batchAcked(rapid.IntRange(1, 1000).Draw(t, "messages"),
					time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "took")), at(now))
			}
			if got := w.current(at(now)); got < minThreshold || got > maxThreshold {
				t.Fatalf("the threshold is %d", got)
			}
		}
	})
}

func TestTwoSlowBatchesDoNotChangeTheThreshold(t *testing.T) {
	t.Parallel()
	var w batchThreshold
	now, _, _ := inMemory.among(8).work(&w, time.Second, 5*time.Second)
	usual := w.learned()
	for range 2 {
		w.batchAcked(8, time.Second, at(now))
	}
	if got := w.learned(); got != usual {
		t.Errorf("two slow batches moved it from %d to %d", usual, got)
	}
	w.batchAcked(8, time.Second, at(now))
	if got := w.learned(); got != maxThreshold {
		t.Errorf("three slow batches moved it from %d to %d", usual, got)
	}
}

// TestBrokerThatRefusesBatchesGetsFew: a refused batch costs a round trip, and its
// messages are sent as singles.
func TestBrokerThatRefusesBatchesGetsFew(t *testing.T) {
	t.Parallel()
	var w batchThreshold
	refused, singles := 0, 0
	for now := time.Second; now < 60*time.Second; {
		if 8 >= w.current(at(now)) {
			w.batchSent()
			now += 300 * time.Microsecond
			w.batchRefused(8, 300*time.Microsecond, at(now))
			refused++
		} else {
			singles++
		}
		w.startBusy(at(now))
		now += 8 * inMemory.single
		for left := 7; left >= 0; left-- {
			w.singleAcked(left, at(now))
		}
	}
	if refused == 0 || refused*100 > singles {
		t.Errorf("%d batches were refused in %d rounds of singles", refused, singles)
	}
}

// TestLoneMessagesAreNoSample: their time is mostly the round trip.
func TestLoneMessagesAreNoSample(t *testing.T) {
	t.Parallel()
	var w batchThreshold
	for i := range 1000 {
		now := time.Duration(i) * 10 * time.Millisecond
		w.startBusy(at(now))
		w.singleAcked(0, at(now+5*time.Millisecond))
	}
	if _, known := w.singleCost.median(); known {
		t.Error("lone messages were a sample of the cost of singles")
	}
}

// TestBatchAfterABatchCountsExpectedMessages: once half of the messages that were pending
// at the last ack are here the others are expected, but two messages are never a batch.
func TestBatchAfterABatchCountsExpectedMessages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pendingAtLastAck, threshold, concurrent int
		batch                                   bool
	}{
		{4, 3, 1, false},
		{4, 3, 2, false},
		{4, 3, 3, true},
		{12, 8, 5, false},
		{12, 8, 6, true},
		{0, 8, 6, false},
	} {
		committer := &Committer{pendingAtLastAck: c.pendingAtLastAck}
		committer.threshold = batchThreshold{value: c.threshold, interval: time.Hour, batchTrial: trial{measured: at(0)}, singleTrial: trial{measured: at(0)}}
		if got := committer.batchPays(c.concurrent, at(time.Second)); got != c.batch {
			t.Errorf("%+v: batch is %v", c, got)
		}
	}
}

// TestRefusedBatchIsASample, unless no message could have been stored.
func TestRefusedBatchIsASample(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{ErrFull: 1, ErrTimeout: 1, ErrDisconnected: 0, ErrMissing: 0} {
		m, problem := newMetrics(nil, nil, nil)
		if problem != nil {
			t.Fatal(problem)
		}
		c := &Committer{metrics: m, batch: &batch{entries: []*entry{{completed: true}}, expiry: time.AfterFunc(time.Hour, func() {})}}
		c.threshold.singleCost.add(0.001)
		c.batchFailed(c.batch, err)
		if got := c.threshold.batchCost.count; got != want {
			t.Errorf("after %v there are %d samples, want %d", err, got, want)
		}
	}
}
