package publish

import (
	"math"
	"slices"
	"time"
)

const (
	// initialThreshold is the batch threshold before the broker's costs are known. It
	// fits batches staged in files on an ordinary disk, whose fixed cost is about that of
	// syncing two dozen messages. Measured on one disk.
	initialThreshold = 24
	// minThreshold and maxThreshold bound the learned threshold. A batch of two was
	// slower than two singles on every disk that was measured.
	minThreshold = 3
	maxThreshold = 64
	// marginalCost is the cost of one more message in a batch, as a part of a single
	// message's cost: it is written, but not synced on its own. Measured on one disk.
	marginalCost = 0.2
)

// Batches and singles are each tried for a moment when their cost was not measured for a
// while. All are guesses.
const (
	// The interval between trials is short at first, so that a wrong first measurement
	// is soon corrected, and doubles with each trial.
	minTrialInterval = 100 * time.Millisecond
	maxTrialInterval = 5 * time.Second
	// trialBatches follow each other, because the first is slower than the next.
	trialBatches = 3
	// Singles are tried for trialWindows windows, for maxTrial at most, and with no more
	// than maxTrialSingles concurrent messages or as many as the broker syncs in maxTrial.
	trialWindows    = 2
	maxTrialSingles = 32
	maxTrial        = 50 * time.Millisecond
)

// batchThreshold learns how many concurrent notifications are worth a batch on this broker.
// The costs of a sync and of a batch differ by a factor of ten between brokers. They are
// medians, so that one slow sync decides nothing. The zero value knows no cost.
type batchThreshold struct {
	singleCost samples // Seconds per single message while others are pending, each over a window.
	batchCost  samples // Seconds that a batch took beyond the marginal cost of its messages.
	value      int     // The learned threshold, 0 for unknown.

	batchTrial  trial
	singleTrial trial
	interval    time.Duration // Between trials.
	fixed       int           // Set by tests in place of what is learned, 0 for not.

	busySince time.Time // Since when the broker works on singles alone, less what busy counts; zero if it does not.
	firstAck  bool      // The next ack is the first since then.
	busy      time.Duration
	acked     int // Messages acked in busy.
}

// trial is when the cost of batches or of singles was last measured, and how many
// batches or windows are still to be tried.
type trial struct {
	measured time.Time
	left     int
}

// sampleWindow is the busy time per sample of singleCost. Several acks share a packet,
// so the time between two acks says nothing. A guess.
const sampleWindow = 10 * time.Millisecond

// learned is the batch threshold outside of trials.
func (t *batchThreshold) learned() int {
	switch {
	case t.fixed > 0:
		return t.fixed
	case t.value == 0:
		return initialThreshold
	}
	return t.value
}

// current is the batch threshold now: lower while batches are tried, higher while singles
// are. It may start a trial.
func (t *batchThreshold) current(now time.Time) int {
	if t.fixed > 0 {
		return t.fixed
	}
	if now.Sub(t.singleTrial.measured) > maxTrial {
		t.singleTrial.left = 0
	}
	if t.singleTrial.left == 0 && t.batchTrial.left == 0 {
		t.startTrial(now)
	}
	switch {
	case t.batchTrial.left > 0:
		return minThreshold
	case t.singleTrial.left > 0:
		return max(t.learned(), t.trialSingles()+1)
	}
	return t.learned()
}

// trialSingles is how many concurrent messages a trial of singles may have. It is bounded
// by their cost once there are enough samples; the first ones are of a cold start.
func (t *batchThreshold) trialSingles() int {
	if cost, _ := t.singleCost.median(); t.singleCost.count >= len(t.singleCost.values) {
		return int(min(maxTrialSingles, maxTrial.Seconds()/cost))
	}
	return maxTrialSingles
}

// startTrial starts a trial of batches or of singles if its interval has passed.
func (t *batchThreshold) startTrial(now time.Time) {
	switch {
	case t.singleCost.count > 0 && now.Sub(t.batchTrial.measured) >= t.interval:
		t.batchTrial = trial{now, trialBatches}
	case now.Sub(t.singleTrial.measured) >= t.interval:
		t.singleTrial = trial{now, trialWindows}
	default:
		return
	}
	t.interval = min(max(2*t.interval, minTrialInterval), maxTrialInterval)
}

// startBusy records that singles are sent while the broker has nothing else to do.
func (t *batchThreshold) startBusy(now time.Time) { t.busySince, t.firstAck = now, true }

// stopBusy records that the broker works on no singles, or not on them alone.
func (t *batchThreshold) stopBusy() { t.busySince = time.Time{} }

// singleAcked records the ack of a single message, with that many still pending. A lone
// message is no sample: most of its time is the round trip.
func (t *batchThreshold) singleAcked(left int, now time.Time) {
	if t.busySince.IsZero() {
		return
	}
	if lone := t.firstAck && left == 0; !lone {
		t.busy, t.acked = t.busy+now.Sub(t.busySince), t.acked+1
	}
	t.busySince, t.firstAck = now, false
	if left == 0 {
		t.stopBusy()
	}
	if t.busy >= sampleWindow {
		t.singleCost.add(t.busy.Seconds() / float64(t.acked))
		t.busy, t.acked = 0, 0
		t.singleTrial = trial{now, max(t.singleTrial.left-1, 0)}
		t.update()
	}
}

// batchSent records that a batch is sent.
func (t *batchThreshold) batchSent() {
	t.stopBusy()
	t.batchTrial.left = max(t.batchTrial.left-1, 0)
}

// batchAcked records the time of a batch on an idle broker. A large batch is no sample:
// its fixed cost is lost in that of its messages.
func (t *batchThreshold) batchAcked(messages int, took time.Duration, now time.Time) {
	if single, known := t.singleCost.median(); known && messages <= maxThreshold {
		t.batchTrial.measured = now
		t.batchCost.add(took.Seconds() - float64(messages)*marginalCost*single)
		t.update()
	}
}

// batchRefused records a batch that failed after that time. Its messages are sent singly,
// so their cost is added to that of the batch.
func (t *batchThreshold) batchRefused(messages int, took time.Duration, now time.Time) {
	if single, known := t.singleCost.median(); known {
		t.batchTrial.measured = now
		t.batchCost.add(took.Seconds() + float64(messages)*single)
		t.update()
	}
}

// update sets the threshold to the number of messages from which a batch saves more than
// its fixed cost.
func (t *batchThreshold) update() {
	single, known := t.singleCost.median()
	batch, measured := t.batchCost.median()
	if known && measured && single > 0 {
		t.value = int(min(max(math.Ceil(batch/(single*(1-marginalCost))), minThreshold), maxThreshold))
	}
}

// samples holds the last five values of a series.
type samples struct {
	values [5]float64
	count  int // Of all values, replaced ones included.
}

func (s *samples) add(value float64) {
	s.values[s.count%len(s.values)] = value
	s.count++
}

// median is that of the values, unknown before the first.
func (s *samples) median() (value float64, known bool) {
	some := s.values[:min(s.count, len(s.values))]
	if len(some) == 0 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(some))
	return sorted[len(sorted)/2], true
}
