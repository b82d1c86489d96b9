package webhook

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// disk is a broker as worth sees it: what a message alone takes, what a batch
// takes and each of its messages on top, and how many callers come back as
// soon as they are answered.
type disk struct {
	single, fixed, each time.Duration
	callers             int
}

// work has a broker work for so long and returns when that was over, and how
// much time was spent on batches and on messages alone.
func (d disk) work(w *batchThreshold, from, span time.Duration) (now, together, alone time.Duration) {
	for now = from; now < from+span; {
		if d.callers >= w.size(at(now)) {
			w.sends()
			took := d.fixed + time.Duration(d.callers)*d.each
			now += took
			w.confirmedBatch(d.callers, took, at(now))
			together += took
			continue
		}
		w.begins(at(now))
		took := d.single * time.Duration(d.callers)
		for left := d.callers - 1; left >= 0; left-- {
			if d.single > time.Millisecond {
				now += d.single
			} else if left == d.callers-1 {
				now += took // All in one packet.
			}
			w.confirmed(left, at(now))
		}
		alone += took
	}
	return now, together, alone
}

// Two disks that were measured: batches staged in files and in memory.
var (
	inFiles  = disk{single: 190 * time.Microsecond, fixed: 3200 * time.Microsecond, each: 30 * time.Microsecond}
	inMemory = disk{single: 190 * time.Microsecond, fixed: 550 * time.Microsecond, each: 30 * time.Microsecond}
)

// slow is a network disk: whatever is synced takes 20 ms.
var slow = disk{single: 20 * time.Millisecond, fixed: 45 * time.Millisecond, each: 30 * time.Microsecond}

// among is the disk with so many callers.
func (d disk) among(callers int) disk {
	d.callers = callers
	return d
}

func TestWorthFindsWhatTakesLessTime(t *testing.T) {
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
			_, together, alone := c.disk.work(&w, now, 20*time.Second)
			right, wrong := alone, together
			if c.batch {
				right, wrong = together, alone
			}
			if share := float64(wrong) / float64(right+wrong); share > 0.02 {
				t.Errorf("%.1f %% of the time went to the slower way", 100*share)
			}
		})
	}
}

// TestWorthFollowsABrokerThatChanges has the stage move, as when a broker is
// started anew, and a cold start that showed nonsense.
func TestWorthFollowsABrokerThatChanges(t *testing.T) {
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
		_, together, alone := after.work(&w, now, 5*time.Second)
		if batch && together < 10*alone || !batch && alone < 10*together {
			t.Errorf("%v together and %v alone; from %d", together, alone, w.learned())
		}
	})
}

// TestWhatIsEnoughStaysWithinItsBounds whatever the broker shows, and however
// often.
func TestWhatIsEnoughStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var w batchThreshold
		now := time.Duration(0)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			now += time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(t, "later"))
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				w.begins(at(now))
			case 1:
				w.confirmed(rapid.IntRange(0, 3).Draw(t, "left"), at(now))
			case 2:
				w.sends()
			case 4:
				w.rests()
			case 5:
				w.refusedBatch(rapid.IntRange(1, 1000).Draw(t, "refused"), time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "in vain")), at(now))
			case 3:
				w.confirmedBatch(rapid.IntRange(1, 1000).Draw(t, "messages"),
					time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "took")), at(now))
			}
			if got := w.size(at(now)); got < fromFewest || got > fromMost {
				t.Fatalf("%d are enough", got)
			}
		}
	})
}

func TestAHiccupDoesNotDecide(t *testing.T) {
	t.Parallel()
	var w batchThreshold
	now, _, _ := inMemory.among(8).work(&w, time.Second, 5*time.Second)
	usual := w.learned()
	for range 2 {
		w.confirmedBatch(8, time.Second, at(now))
	}
	if got := w.learned(); got != usual {
		t.Errorf("two slow batches moved it from %d to %d", usual, got)
	}
	w.confirmedBatch(8, time.Second, at(now))
	if got := w.learned(); got != fromMost {
		t.Errorf("a disk that has become slow is not noticed: from %d to %d", usual, got)
	}
}

// TestABrokerThatTakesNoBatchesGetsFew: what it refuses costs a round trip and
// is sent once more.
func TestABrokerThatTakesNoBatchesGetsFew(t *testing.T) {
	t.Parallel()
	var w batchThreshold
	refused, alone := 0, 0
	for now := time.Second; now < 60*time.Second; {
		if 8 >= w.size(at(now)) {
			w.sends()
			now += 300 * time.Microsecond
			w.refusedBatch(8, 300*time.Microsecond, at(now))
			refused++
		} else {
			alone++
		}
		w.begins(at(now))
		now += 8 * inMemory.single
		for left := 7; left >= 0; left-- {
			w.confirmed(left, at(now))
		}
	}
	if refused == 0 || refused*100 > alone {
		t.Errorf("%d were refused while %d times they went alone", refused, alone)
	}
}

// TestLoneMessagesTellNothing: their time is mostly the way.
func TestLoneMessagesTellNothing(t *testing.T) {
	t.Parallel()
	var w batchThreshold
	for i := range 1000 {
		now := time.Duration(i) * 10 * time.Millisecond
		w.begins(at(now))
		w.confirmed(0, at(now+5*time.Millisecond))
	}
	if _, known := w.single.median(); known {
		t.Error("lone messages were taken for the broker's pace")
	}
}

// TestWhoTravelsRightAfterABatch: once half of those around it are back the
// others are expected, but two travel alone all the same.
func TestWhoTravelsRightAfterABatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		around, from, waiting int
		together              bool
	}{
		{4, 3, 1, false},
		{4, 3, 2, false},
		{4, 3, 3, true},
		{12, 8, 5, false},
		{12, 8, 6, true},
		{0, 8, 6, false},
	} {
		p := &Committer{around: c.around}
		p.worth = batchThreshold{from: c.from, pause: time.Hour, batches: probe{told: at(0)}, singles: probe{told: at(0)}}
		if got := p.batches(c.waiting, at(time.Second)); got != c.together {
			t.Errorf("%+v: together is %v", c, got)
		}
	}
}

// TestARefusedBatchIsRemembered, unless nothing could have been stored.
func TestARefusedBatchIsRemembered(t *testing.T) {
	t.Parallel()
	for err, remembered := range map[error]int{ErrFull: 1, ErrTimeout: 1, ErrDisconnected: 0, ErrMissing: 0} {
		metrics, problem := newPublisherMetrics(nil, nil, nil)
		if problem != nil {
			t.Fatal(problem)
		}
		p := &Committer{metrics: metrics, batch: &batch{entries: []*entry{{settled: true}}, expiry: time.AfterFunc(time.Hour, func() {})}}
		p.worth.single.add(0.001)
		p.refuse(p.batch, err)
		if got := p.worth.fixed.count; got != remembered {
			t.Errorf("after %v there are %d values", err, got)
		}
	}
}
