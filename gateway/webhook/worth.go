package webhook

import (
	"math"
	"slices"
	"time"
)

// From how many concurrent notifications on a batch is worth its fixed cost.
const (
	// fromUnknown holds until the broker has shown what things cost. It is right
	// where a batch is staged in files on an ordinary disk, which is about as much
	// work as syncing two dozen messages one by one.
	fromUnknown = 24
	// fromFewest and fromMost bound what is learned. The fewest is three: a batch
	// of two has never paid, however cheap it was.
	fromFewest = 3
	fromMost   = 64
	// marginal is the part of a single message's time that each message of a
	// batch takes: it is written like any other, but not synced.
	marginal = 0.2
)

// The way that has told nothing for a pause is tried for a moment. The pause is
// short at first, so that what a cold start showed is soon made up for, and
// doubles with each trial.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	// batchesTried follow each other. The first is slower than those after it.
	batchesTried = 3
	// windowsTried is for how many windows messages are published alone, unless
	// that takes longer than triedFor. No more than aloneTried concurrent ones are,
	// nor more than the broker syncs in triedFor.
	windowsTried = 2
	aloneTried   = 32
	triedFor     = 50 * time.Millisecond
)

// batchThreshold learns from the broker from how many concurrent notifications on they
// should travel together. That depends on what it takes to sync one message
// and on where a batch is staged, and the two together differ by a factor of
// ten between one broker and the next.
//
// Both are medians of the latest few, so that a hiccup of the disk does not
// decide. The zero value knows nothing.
type batchThreshold struct {
	single latest // Seconds for a message published alone while others were on their way, each over a window.
	fixed  latest // Seconds that a batch took beyond what its messages did.
	from   int    // What follows from the two, 0 for unknown.

	batches probe
	singles probe
	pause   time.Duration
	pinned  int // What tests want instead of what is learned, 0 for nothing.

	since time.Time // The broker works on nothing but messages published alone, and this much of it is counted; zero for not.
	first bool      // None of them has been confirmed yet.
	spent time.Duration
	count int
}

// probe is when one of the two ways last told something, and how much of it is
// still to be tried.
type probe struct {
	told time.Time
	left int
}

// sampleWindow is how long the broker works on messages published alone until
// that makes one value. It confirms several in one packet, so the time between
// two confirmations says nothing.
const sampleWindow = 10 * time.Millisecond

// learned is how many concurrent notifications are worth a batch.
func (w *batchThreshold) learned() int {
	switch {
	case w.pinned > 0:
		return w.pinned
	case w.from == 0:
		return fromUnknown
	}
	return w.from
}

// size is how many make a batch now: fewer or more than usual while one of
// the two ways is tried.
func (w *batchThreshold) size(now time.Time) int {
	if w.pinned > 0 {
		return w.pinned
	}
	if now.Sub(w.singles.told) > triedFor {
		w.singles.left = 0
	}
	if w.singles.left == 0 && w.batches.left == 0 {
		w.tryOther(now)
	}
	switch {
	case w.batches.left > 0:
		return fromFewest
	case w.singles.left > 0:
		return max(w.learned(), w.bounded()+1)
	}
	return w.learned()
}

// bounded is how many concurrent messages may be published alone only to see
// how long that takes. What a cold start showed does not bound it.
func (w *batchThreshold) bounded() int {
	if single, _ := w.single.median(); w.single.count >= len(w.single.values) {
		return int(min(aloneTried, triedFor.Seconds()/single))
	}
	return aloneTried
}

// tryOther begins to try the way that has told nothing for too long.
func (w *batchThreshold) tryOther(now time.Time) {
	switch {
	case w.single.count > 0 && now.Sub(w.batches.told) >= w.pause:
		w.batches = probe{now, batchesTried}
	case now.Sub(w.singles.told) >= w.pause:
		w.singles = probe{now, windowsTried}
	default:
		return
	}
	w.pause = min(max(2*w.pause, firstPause), longestPause)
}

// begins takes note that messages go out alone while nothing is on its way.
func (w *batchThreshold) begins(now time.Time) { w.since, w.first = now, true }

// rests takes note that the broker no longer works on messages published
// alone, or not on them alone.
func (w *batchThreshold) rests() { w.since = time.Time{} }

// confirmed takes note of a message that was confirmed on its own and leaves
// so many others like it on their way. A lone one tells nothing: most of its
// time is the way there and back.
func (w *batchThreshold) confirmed(left int, now time.Time) {
	if w.since.IsZero() {
		return
	}
	if lone := w.first && left == 0; !lone {
		w.spent, w.count = w.spent+now.Sub(w.since), w.count+1
	}
	w.since, w.first = now, false
	if left == 0 {
		w.rests()
	}
	if w.spent >= sampleWindow {
		w.single.add(w.spent.Seconds() / float64(w.count))
		w.spent, w.count = 0, 0
		w.singles = probe{now, max(w.singles.left-1, 0)}
		w.weigh()
	}
}

// sends takes note of a batch that goes out.
func (w *batchThreshold) sends() {
	w.rests()
	w.batches.left = max(w.batches.left-1, 0)
}

// confirmedBatch takes note of how long a batch of so many took for which the
// broker was free. A large one tells nothing: its fixed cost is lost in the
// rest.
func (w *batchThreshold) confirmedBatch(messages int, took time.Duration, now time.Time) {
	if single, known := w.single.median(); known && messages <= fromMost {
		w.batches.told = now
		w.fixed.add(took.Seconds() - float64(messages)*marginal*single)
		w.weigh()
	}
}

// refusedBatch takes note of a batch that cost so much time for nothing: its
// messages go one by one after all.
func (w *batchThreshold) refusedBatch(messages int, took time.Duration, now time.Time) {
	if single, known := w.single.median(); known {
		w.batches.told = now
		w.fixed.add(took.Seconds() + float64(messages)*single)
		w.weigh()
	}
}

// weigh finds from how many messages on the fixed cost of a batch is less than
// what they save.
func (w *batchThreshold) weigh() {
	single, known := w.single.median()
	fixed, shown := w.fixed.median()
	if known && shown && single > 0 {
		w.from = int(min(max(math.Ceil(fixed/(single*(1-marginal))), fromFewest), fromMost))
	}
}

// latest is the last few of a series.
type latest struct {
	values [5]float64
	count  int
}

func (l *latest) add(value float64) {
	l.values[l.count%len(l.values)] = value
	l.count++
}

// median is that of the last few. It is unknown before the first.
func (l *latest) median() (value float64, known bool) {
	some := l.values[:min(l.count, len(l.values))]
	if len(some) == 0 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(some))
	return sorted[len(sorted)/2], true
}
