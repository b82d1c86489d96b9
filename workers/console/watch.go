package console

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/topology"
	"arauto/deploy/runtime/wait"
	"arauto/schemas/subject"
	"arauto/workers/operator"
)

const (
	// flowEvery is how often the streams' last sequences are read: some requests, a guess.
	flowEvery = 2 * time.Second
	// flowKept is the span over which rates are counted.
	flowKept = time.Minute
	// healthEvery is how often everything is looked at while a page is open, and idleEvery
	// while none is. One look reads up to 10,000 messages. Guesses.
	healthEvery = 5 * time.Second
	idleEvery   = time.Minute
	// healthShare is the smallest ratio of the pause between two looks to the time of one.
	healthShare = 10
	// lookLimit bounds one look.
	lookLimit = 30 * time.Second
)

// flowing are the streams whose rates are shown, in the order of the flow.
var flowing = []string{subject.Notifications, subject.Statuses, subject.Orders, subject.LookupRetries, subject.DeadLetters}

// flow is one sample of the streams' last sequences.
type flow struct {
	at   time.Time
	last map[string]uint64
}

// snapshot is the deployment as it was last seen. It is not changed after it was made.
type snapshot struct {
	At     time.Time // When the reading of Health began, zero for never.
	Health operator.Health
	Found  []operator.Need
	Drift  []topology.Drift
	Err    error // Why the last look failed, nil if it did not.

	FlowAt time.Time
	Rates  map[string]float64 // Messages per minute by stream, over the last minute.
}

// Read reports whether the broker was ever read.
func (s *snapshot) Read() bool { return !s.At.IsZero() }

// Sure reports whether the last look could read everything.
func (s *snapshot) Sure() bool { return s.Read() && s.Err == nil }

// watch looks at the broker for all pages together.
type watch struct {
	Options
	began time.Time

	letters letters
	answers answers

	last atomic.Pointer[snapshot]
	wake chan struct{} // A page was opened.

	mu      sync.Mutex
	pages   map[chan uint64]string // The reader of each.
	ticks   uint64
	stopped bool
	samples []flow
}

func newWatch(o Options) *watch {
	w := &watch{Options: o, began: o.Now(), pages: map[chan uint64]string{}, wake: make(chan struct{}, 1)}
	w.letters.keep, w.letters.page = newestLetters, olderLetters
	w.last.Store(&snapshot{})
	return w
}

// seenAt is when the broker was last read; before that, when the console began.
func (w *watch) seenAt() time.Time {
	if last := w.last.Load(); last.Read() {
		return last.At
	}
	return w.began
}

// want has the broker looked at soon, because a page was opened.
func (w *watch) want() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// join makes a channel of ticks for a page of a reader. ok is false if too many pages are open,
// or too many of that reader.
func (w *watch) join(reader string) (ticks <-chan uint64, leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	own := 0
	for _, of := range w.pages {
		if of == reader {
			own++
		}
	}
	if len(w.pages) >= maxPages || own >= readerPages || w.stopped {
		return nil, nil, false
	}
	one := make(chan uint64, 1)
	w.pages[one] = reader
	w.want()
	return one, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.pages, one)
	}, true
}

// tick tells every page that the broker was looked at. A page that has not read the tick
// before needs no second one.
func (w *watch) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ticks++
	for one := range w.pages {
		select {
		case one <- w.ticks:
		default:
		}
	}
}

// open is how many pages are open.
func (w *watch) open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pages)
}

// close ends the refreshes of all pages.
func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for one := range w.pages {
		close(one)
		delete(w.pages, one)
	}
}

// run looks at the broker until ctx ends.
func (w *watch) run(ctx context.Context) error {
	defer w.close()
	looks := make(chan struct{})
	go func() {
		defer close(looks)
		w.lookOn(ctx)
	}()
	every := time.NewTicker(flowEvery)
	defer every.Stop()
	for {
		w.sample(ctx)
		w.tick()
		select {
		case <-ctx.Done():
			<-looks
			return ctx.Err()
		case <-every.C:
		}
	}
}

// lookOn looks at everything, more often while a page is open.
func (w *watch) lookOn(ctx context.Context) {
	for {
		began := time.Now()
		w.look(ctx)
		busy := max(healthEvery, healthShare*time.Since(began))
		if !wait.For(ctx, busy) {
			return
		}
		if w.open() == 0 && !pause(ctx, idleEvery-healthEvery, w.wake) {
			return
		}
	}
}

// pause waits for a time, or until wake. It returns false if ctx ended.
func pause(ctx context.Context, long time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
	}
	return true
}

// look reads the health and the findings. What cannot be read leaves those before.
func (w *watch) look(ctx context.Context) {
	began := w.Now()
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	d := operator.NewDeployment(w.JS, w.Config(), w.Tokens)
	h, err := d.Health(ctx)
	var found []operator.Need
	if err == nil {
		found, err = d.Findings(ctx, h)
	}
	var drift []topology.Drift
	if err == nil {
		drift, err = topology.Diff(ctx, w.JS, w.Config().Topology())
	}
	if err == nil {
		err = errors.Join(present(w.letters.update(ctx, w.JS, began)), present(w.answers.update(ctx, w.JS, accountsOf(w.Config()), began)))
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return // The process stops.
	}
	w.change(func(next *snapshot) {
		if next.Err = err; err == nil {
			next.At, next.Health, next.Found, next.Drift = began, h, found, drift
		}
	})
	if err != nil {
		w.Log.Warn("broker.unread", zap.Error(err))
	}
	w.tick()
}

// present is err without that of a stream that is missing, which the health lists.
func present(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

// change stores a changed copy of the snapshot.
func (w *watch) change(by func(*snapshot)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := *w.last.Load()
	by(&next)
	w.last.Store(&next)
}

// sample reads the streams' last sequences. Without an answer the rates stay, and get old.
func (w *watch) sample(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flowEvery)
	defer cancel()
	one := flow{at: w.Now(), last: map[string]uint64{}}
	for _, name := range flowing {
		s, err := w.JS.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return
		}
		one.last[name] = s.CachedInfo().State.LastSeq
	}
	w.samples = append(w.samples, one)
	for len(w.samples) > 2 && one.at.Sub(w.samples[1].at) >= flowKept {
		w.samples = w.samples[1:]
	}
	first, rates := w.samples[0], map[string]float64{}
	if span := one.at.Sub(first.at); span > 0 {
		for name, last := range one.last {
			if before, ok := first.last[name]; ok && last >= before {
				rates[name] = float64(last-before) / span.Minutes()
			}
		}
	}
	w.change(func(next *snapshot) { next.FlowAt, next.Rates = one.at, rates })
}
