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
	// small is how many messages a batch may have to tell of its fixed cost.
	small = 16
	// marginal is the part of a single message's time that each message of a
	// batch takes: it is written like any other, but not synced.
	marginal = 0.2
	// untried is beyond how many concurrent notifications are never published
	// alone only to see how long that takes.
	untried = 32
	// tries is how many batches are tried after each other, and windows for how
	// many values messages are published alone, where that has told nothing for a
	// while. The first batches are slower than those after them. The while is
	// short at first, so that what a cold start showed is soon made up for, and
	// doubles.
	tries        = 5
	windows      = 2
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	// givesUp is how long it is tried to publish messages alone where more are
	// concurrent than that.
	givesUp = 100 * time.Millisecond
)

// worth learns from the broker from how many concurrent notifications on they
// should travel together. That depends on what it takes to sync one message
// and on where a batch is staged, and the two together differ by a factor of
// ten between one broker and the next.
//
// Both are medians of the latest few, so that a hiccup of the disk does not
// decide. The zero value knows nothing.
type worth struct {
	single latest // Seconds for a message published alone while others were on their way, each over a window.
	fixed  latest // Seconds that a small batch took beyond what its messages did.
	from   int    // What follows from the two, 0 for unknown.

	together try // Batches are tried,
	alone    try // or messages alone.
	pause    time.Duration

	since time.Time // The broker works on nothing but messages published alone, and this much of it is counted; zero for not.
	spent time.Duration
	count int
}

// try is when one of the two ways last told something, and how much of it is
// still to be tried.
type try struct {
	told time.Time
	left int
}

// worthWindow is how long the broker works on messages published alone until
// that makes one value. It confirms several in one packet, so the time between
// two confirmations says nothing.
const worthWindow = 10 * time.Millisecond

// usual is how many concurrent notifications are worth a batch.
func (w *worth) usual() int {
	if w.from == 0 {
		return fromUnknown
	}
	return w.from
}

// enough is how many make a batch now: fewer or more than usual while one of
// the two ways is tried.
func (w *worth) enough(now time.Time) int {
	if now.Sub(w.alone.told) > givesUp {
		w.alone.left = 0
	}
	if w.alone.left == 0 && w.together.left == 0 && w.single.count > 0 {
		w.try(now)
	}
	switch {
	case w.together.left > 0:
		return fromFewest
	case w.alone.left > 0:
		return max(w.usual(), untried+1)
	}
	return w.usual()
}

// try begins to try the way that has told nothing for too long.
func (w *worth) try(now time.Time) {
	switch {
	case now.Sub(w.together.told) >= w.pause:
		w.together = try{now, tries}
	case now.Sub(w.alone.told) >= w.pause:
		w.alone = try{now, windows}
	default:
		return
	}
	w.pause = min(max(2*w.pause, firstPause), longestPause)
}

// sends takes note of a batch that goes out: what is on its way alone no
// longer has the broker for itself.
func (w *worth) sends() { w.since, w.together.left = time.Time{}, max(w.together.left-1, 0) }

// begins takes note that messages go out alone while nothing is on its way.
func (w *worth) begins(now time.Time) { w.since = now }

// confirmed takes note of a message that was confirmed on its own and leaves
// so many others like it on their way.
func (w *worth) confirmed(left int, now time.Time) {
	if w.since.IsZero() {
		return
	}
	w.spent, w.count, w.since = w.spent+now.Sub(w.since), w.count+1, now
	if left == 0 {
		w.since = time.Time{}
	}
	if w.spent >= worthWindow {
		w.single.add(w.spent.Seconds() / float64(w.count))
		w.spent, w.count = 0, 0
		w.alone = try{now, max(w.alone.left-1, 0)}
		w.weigh()
	}
}

// confirmedBatch takes note of how long a batch of so many took for which the
// broker was free.
func (w *worth) confirmedBatch(messages int, took time.Duration, now time.Time) {
	if single, known := w.single.median(); known && messages <= small {
		w.together.told = now
		w.fixed.add(took.Seconds() - float64(messages)*marginal*single)
		w.weigh()
	}
}

// weigh finds from how many messages on the fixed cost of a batch is less than
// what they save.
func (w *worth) weigh() {
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
