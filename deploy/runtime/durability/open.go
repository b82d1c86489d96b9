package durability

import (
	"context"
	"errors"
	"time"
)

// state is the result of the last reading. It is not changed, but replaced.
type state struct {
	report     Report
	connection uint64        // The number of the connection that was read.
	failed     error         // Why NOTIFICATIONS cannot be written, as far as that was seen.
	at         time.Time     // When it was read.
	over       chan struct{} // Closed when there is a newer one.
}

// settle replaces the state; w.mu is held, or w is not yet shared.
func (w *Watcher) settle(s state) {
	s.over, s.at = make(chan struct{}), time.Now()
	if before := w.state.Swap(&s); before != nil {
		close(before.over)
	}
}

// Open says why nothing may be confirmed now, nil when it may. Without a claim
// it is always nil.
func (w *Watcher) Open() error {
	if w.o.Claimed == 0 {
		return nil
	}
	return w.state.Load().open(w.o.Link.Connections())
}

// open judges the state for a connection by its number: after a reconnect the broker is
// unverified until it was read again.
func (s *state) open(connection uint64) error {
	switch {
	case s.report.Facts == nil, s.report.Holds && s.connection != connection:
		return errUnverified
	case !s.report.Holds:
		return errWeaker
	}
	return nil
}

// Await is Open, but waits for a look that is due while the broker is
// connected, until ctx ends at the latest. The number is that of the connection
// that was looked at; it grows by one with each reconnect. A confirmation is
// worth what is claimed if Await was nil before the message was sent and is
// after its confirmation, with a number at most one higher: then the broker
// that confirmed it has been looked at, whichever of the two it was.
func (w *Watcher) Await(ctx context.Context) (connection uint64, err error) {
	if w.o.Claimed == 0 {
		return 0, nil
	}
	for {
		s := w.state.Load() // Before what it is compared with, or its end would be missed.
		connection = w.o.Link.Connections()
		err = s.open(connection)
		if !errors.Is(err, errUnverified) || !w.o.Link.Up() {
			return connection, err
		}
		select {
		case <-s.over:
		case <-ctx.Done():
			return connection, err
		}
	}
}

var (
	errUnverified = errors.New("the claimed durability is not verified yet")
	errWeaker     = errors.New("the broker is weaker than gateway.durability claims, see /durability")
)

// Ready is Open as a readiness check.
func (w *Watcher) Ready(context.Context) error { return w.Open() }

// Stored says why the broker writes no notification until it is restarted, as the
// last look saw it, nil while it writes. It is a readiness check too.
func (w *Watcher) Stored(context.Context) error { return w.state.Load().failed }

// Unconfirmed is Stored for a caller whose notification was not confirmed in time: it
// also has the broker looked at, at once or a second after the last look.
func (w *Watcher) Unconfirmed() error {
	s := w.state.Load()
	if rest := everyAmiss - time.Since(s.at); rest <= 0 {
		w.doubt()
	} else if w.doubted.CompareAndSwap(false, true) {
		time.AfterFunc(rest, func() { w.doubted.Store(false); w.doubt() })
	}
	return s.failed
}

// doubt makes the watcher read the broker soon, unless a reading is due already.
func (w *Watcher) doubt() {
	select {
	case w.doubts <- struct{}{}:
	default:
	}
}

// SyncsEach reports whether the broker, as the last look saw it, syncs each
// message to disk before it confirms it, and nothing but that: then an atomic
// batch costs one sync instead of one per message. With replicas the broker
// gathers writes into the Raft log by itself, and a batch still costs less,
// because it is one entry; on a lazy broker plain publishes are faster (both
// measured). It costs one atomic load and may be asked for each message. It is
// advice about speed and promises nothing.
func (w *Watcher) SyncsEach() bool {
	f := w.state.Load().report.Facts
	return f != nil && f.Sync == Always
}
