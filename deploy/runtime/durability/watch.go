package durability

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The time between two readings: by default while the claim holds, while something is
// wrong, and while nothing may be stored before the first reading.
const (
	everyDefault = 30 * time.Second
	everyAmiss   = time.Second
	everyShut    = 100 * time.Millisecond
)

// lookLimit bounds one reading. While webhooks wait for it, the stream gets hasty to answer
// at first, and twice as long after each reading that failed.
const (
	lookLimit = 2 * time.Second
	hasty     = 250 * time.Millisecond
)

// visibilityTimeout is how long a broker that can be reached may hide its sync
// policy at the start before a claim about it is refused.
const visibilityTimeout = 5 * time.Second

// Options is what a Watcher needs; the times have defaults.
type Options struct {
	NC                *nats.Conn
	Link              Link     // Of NC.
	Monitors          []string // Monitoring addresses, such as http://nats-1:8222.
	Claimed           Claim    // 0 claims nothing: the watcher then only reports.
	Log               *zap.Logger
	Registerer        prometheus.Registerer
	Every             time.Duration // Between two looks while all is well; 30 s by default.
	Limit             time.Duration // For one look; 2 s by default.
	VisibilityTimeout time.Duration // For a reachable broker's monitoring addresses at the start; 5 s by default.
}

// Link says how a connection to the broker stands. It is asked twice for each
// message, so it must not wait.
type Link interface {
	Up() bool            // It stands.
	Connections() uint64 // A number that grows by one with each new connection.
}

// Watcher looks at the broker at the start, after each reconnect and now and
// then, and says whether what the configuration claims holds.
type Watcher struct {
	o      Options
	broken prometheus.Gauge
	failed prometheus.Gauge
	doubts chan struct{} // A confirmation did not come in time.
	state  atomic.Pointer[state]

	doubted atomic.Bool // One comes a second after the last look.

	mu         sync.Mutex // Held for a whole look.
	reader     *Reader
	verified   bool // The claim has held once.
	vain       int  // Looks in a row at which nothing was seen, on the connection of this number.
	connection uint64
	hidden     time.Time // Since when the policy has been invisible at the start; zero for not.
	said       string    // What was logged last.
}

// Unfounded is a claim that the broker does not bear out.
type Unfounded struct {
	Claimed Claim
	Verdict Verdict
}

// Error says what the broker has, and what to change there or to claim
// instead.
func (e *Unfounded) Error() string {
	var why []string
	for _, w := range e.Verdict.missing(e.Claimed) {
		why = append(why, w.String())
	}
	return fmt.Sprintf("claims %s, but what can be seen is %s: %s; or claim no more than what is there",
		e.Claimed, e.Verdict.Claim, strings.Join(why, "; and "))
}

// Watch returns a watcher, which knows nothing before Run.
func Watch(o Options) (*Watcher, error) {
	o.Every, o.Limit = cmp.Or(o.Every, everyDefault), cmp.Or(o.Limit, lookLimit)
	o.VisibilityTimeout = cmp.Or(o.VisibilityTimeout, visibilityTimeout)
	js, err := jetstream.New(o.NC)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	w := &Watcher{
		o: o, reader: NewReader(js, o.Monitors),
		broken: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_durability_requirement_unmet",
			Help: "1 while the broker is weaker than gateway.durability claims, which it was not before: webhooks get 503.",
		}),
		failed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "arauto_broker_write_errors",
			Help: "Streams and consumers that a server of the broker cannot write until it is restarted, on all servers that hold NOTIFICATIONS.",
		}),
		doubts: make(chan struct{}, 1),
	}
	w.settle(state{report: unseen(o.Claimed)})
	if err := errors.Join(o.Registerer.Register(w.broken), o.Registerer.Register(w.failed)); err != nil {
		return nil, fmt.Errorf("register durability metrics: %w", err)
	}
	return w, nil
}

// Run looks until ctx ends, and returns nil then. It returns an *Unfounded
// when the first sight of the broker shows less than is claimed; a broker that
// cannot be reached is waited for.
func (w *Watcher) Run(ctx context.Context) error {
	connected := w.o.NC.StatusChanged(nats.CONNECTED)
	defer w.o.NC.RemoveStatusListener(connected)
	for {
		for again := true; again; {
			again = w.lookUntil(ctx, connected)
		}
		if err := w.unfounded(); err != nil {
			return err
		}
		timer := time.NewTimer(w.pause())
		select {
		case <-connected:
		case <-w.doubts:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// lookUntil looks, and reports true when a new connection made that pointless: the
// client lets a question wait that the one before was asked.
func (w *Watcher) lookUntil(ctx context.Context, connected <-chan nats.Status) (again bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.look(ctx)
	}()
	select {
	case <-done:
		return false
	case <-connected:
		cancel()
		<-done
		return true
	}
}

// look sees and judges once. When the broker cannot be seen, everything stays
// as it was.
func (w *Watcher) look(ctx context.Context) Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, w.o.Limit)
	defer cancel()
	connection := w.o.Link.Connections() // Before what is seen, which may already be newer.
	if connection != w.connection {
		w.connection, w.vain = connection, 0
	}
	s := *w.state.Load()
	facts, err := w.read(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		err = ctx.Err() // A new connection ended the reading early, so a server that did not answer may be well.
	}
	if err != nil {
		w.vain++
		s.report.Problem = err.Error()
		w.settle(s)                                   // Callers of Await then see that the broker is disconnected.
		if w.o.NC.IsConnected() && ctx.Err() == nil { // The log of the connection reports that the broker is disconnected.
			w.say(zap.WarnLevel, "durability.read_failed", err.Error(), zap.Error(err))
		}
		return s.report
	}
	w.vain = 0
	s.report, s.connection, s.failed = reportOf(w.o.Claimed, facts), connection, facts.Unwritable()
	w.settle(s)
	w.verified = w.verified || s.report.Holds
	w.broken.Set(0)
	if w.verified && !s.report.Holds {
		w.broken.Set(1)
	}
	w.failed.Set(float64(facts.writeErrors()))
	w.hide(s.report)
	w.tell(s.report)
	return s.report
}

// read reads soon where webhooks wait for it.
func (w *Watcher) read(ctx context.Context) (Facts, error) {
	if errors.Is(w.Open(), errUnverified) {
		return w.reader.ReadSoon(ctx, min(hasty<<min(w.vain, 10), w.o.Limit))
	}
	return w.reader.Read(ctx)
}

// hide records when a claim began to fail only because the policy could not be read.
func (w *Watcher) hide(r Report) {
	sighted := r.Claim
	if r.Facts.Sync == Unseen && len(w.o.Monitors) > 0 {
		sighted |= PowerLoss
	}
	switch {
	case r.Holds || !sighted.Covers(w.o.Claimed):
		w.hidden = time.Time{}
	case w.hidden.IsZero():
		w.hidden = time.Now()
	}
}

// unfounded is why the process must end: its first reading of the broker showed less than
// is claimed.
func (w *Watcher) unfounded() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	hidden := !w.hidden.IsZero() && time.Since(w.hidden) < w.o.VisibilityTimeout
	r := w.state.Load().report
	if r.Facts == nil || r.Holds || w.verified || hidden {
		return nil
	}
	return &Unfounded{Claimed: w.o.Claimed, Verdict: r.Verdict}
}

// pause is the time until the next reading.
func (w *Watcher) pause() time.Duration {
	if errors.Is(w.Open(), errUnverified) {
		return everyShut
	}
	r := w.state.Load().report
	amiss := !r.Holds || r.Problem != "" || r.Facts == nil || r.Facts.writeErrors() > 0 ||
		w.o.Claimed != 0 && r.Facts.elsewhere // No connection of this process breaks when such a server restarts.
	unseen := func(s Server) bool { return s.Problem != "" && !s.Offline }
	if amiss || len(w.o.Monitors) > 0 && slices.ContainsFunc(r.Facts.Servers, unseen) {
		return min(everyAmiss, w.o.Every)
	}
	return w.o.Every
}

// tell logs the report when it has changed, other than by the fill level.
func (w *Watcher) tell(r Report) {
	weak := make([]string, 0, len(r.Weak))
	key := fmt.Sprint(r.Claim, r.Holds)
	for _, one := range r.Weak {
		weak = append(weak, one.String())
		key += one.Setting
	}
	fields := []zap.Field{
		zap.Stringer("claim", r.Claim), zap.Stringer("claimed", w.o.Claimed),
		zap.String("meaning", r.Sentence), zap.Strings("facts", r.Facts.Lines()), zap.Strings("weak", weak),
	}
	switch {
	case w.verified && !r.Holds:
		w.say(zap.ErrorLevel, "durability.requirement_unmet", key, fields...)
	case r.Facts.writeErrors() > 0:
		w.say(zap.ErrorLevel, "broker.write_failed", key, fields...)
	default:
		w.say(zap.InfoLevel, "durability.read", key, fields...)
	}
}

// say logs a message unless the last one was the same.
func (w *Watcher) say(level zapcore.Level, what, key string, fields ...zap.Field) {
	if w.said != what+key {
		w.said = what + key
		w.o.Log.Log(level, what, fields...)
	}
}
