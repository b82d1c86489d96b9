package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/deploy/runtime/wait"
	"arauto/schemas/order"
	"arauto/schemas/subject"
	"arauto/workers/console/index"
	"arauto/workers/internal/deadletter"
	"arauto/workers/operator"
)

const (
	// followEvery is how often the index looks for events while there are none. A guess.
	followEvery = time.Second
	// followBatch is how many events are one transaction of the index, which takes some
	// milliseconds for the sync of the disk. Each event changes pages of its own, and the kernel
	// maps 16 at a time: see the index's benchmark for what other numbers take in memory.
	followBatch = 200
	// followFor is how long events are gathered for one transaction.
	followFor = 500 * time.Millisecond
	// removeEvery is how often payments are removed that sweep has removed from ORDERS.
	removeEvery = time.Hour
	// latencies is how many of the last times from webhook to event are kept.
	latencies = 1000
	// latencyKept is for how long they are kept.
	latencyKept = time.Hour
)

// progress is how far the index is.
type progress struct {
	At       time.Time // When the last reading of ORDERS began, zero for never.
	Read     uint64    // Sequence on ORDERS.
	Last     uint64    // Last sequence of ORDERS.
	Payments int
	Err      error // Why the last read failed.

	Whole time.Time // When the index last had every event; before that, when the follower was made.

	Latency []time.Duration // Of the last hour's events, sorted.
}

// Percent is how much of ORDERS was read, once it was.
func (p progress) Percent() int {
	if p.Last == 0 {
		return 100
	}
	return int(100 * float64(p.Read) / float64(p.Last))
}

// Building reports whether lists lack payments because the index is still being made.
func (p progress) Building() bool { return p.At.IsZero() || p.Last > p.Read+followBatch }

// Part is the latency below which so many percent of the last events were, 0 without events.
func (p progress) Part(percent int) time.Duration {
	if len(p.Latency) == 0 {
		return 0
	}
	return p.Latency[(len(p.Latency)-1)*percent/100]
}

// follower feeds the index from ORDERS, and removes from it what was forgotten.
type follower struct {
	Options

	letters   *letters           // They lose what was erased too.
	forgotten map[string]erasure // By the subjects of FORGOTTEN.
	known     index.Position     // How far forgotten was read.
	removed   time.Time          // When retention was last applied.

	mu     sync.Mutex
	now    progress
	recent []latency // Of the last events, in their order.
}

// latency is how long one event took from its webhook.
type latency struct {
	at   time.Time // When the event was stored.
	took time.Duration
}

// erasure is a record of FORGOTTEN.
type erasure struct {
	at       time.Time // When it was stored.
	sequence uint64
}

func newFollower(o Options, l *letters) *follower {
	return &follower{Options: o, letters: l, forgotten: map[string]erasure{}, now: progress{Whole: o.Now()}}
}

// progress is how far the index is.
func (f *follower) progress() progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.now
	for _, one := range f.recent {
		if f.Now().Sub(one.at) <= latencyKept {
			p.Latency = append(p.Latency, one.took)
		}
	}
	slices.Sort(p.Latency)
	return p
}

// run follows ORDERS until ctx ends. A broker that is away is asked again.
func (f *follower) run(ctx context.Context) error {
	failing := false
	for {
		more, err := f.step(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.mu.Lock()
		f.now.Err = err
		f.mu.Unlock()
		if err != nil && !failing {
			f.Log.Warn("index.unfed", zap.Error(err))
		}
		failing = err != nil
		if !more || err != nil {
			if !wait.For(ctx, followEvery) {
				return ctx.Err()
			}
		}
	}
}

// step does one round: what was forgotten first, so that no event of it is stored.
func (f *follower) step(ctx context.Context) (more bool, err error) {
	began := f.Now()
	read, forgotten, payments, err := f.Index.Read()
	if err != nil {
		return false, err
	}
	orders, err := f.JS.Stream(ctx, subject.Orders)
	if err != nil {
		return false, fmt.Errorf("open stream %s: %w", subject.Orders, err)
	}
	info := orders.CachedInfo()
	if !read.Created.IsZero() && (!read.Created.Equal(info.Created) || read.Sequence > info.State.LastSeq) {
		f.Log.Warn("index.reset", zap.String("cause", "stream ORDERS was recreated"))
		return true, f.Index.Reset()
	}
	if again, err := f.forget(ctx, forgotten, payments); err != nil || again {
		return again, err
	}
	if err := f.retain(); err != nil {
		return false, err
	}
	if read, err = f.events(ctx, orders, index.Position{Created: info.Created, Sequence: read.Sequence}); err != nil {
		return false, err
	}
	_, _, payments, err = f.Index.Read()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now.At, f.now.Read, f.now.Last, f.now.Payments = began, read.Sequence, max(info.State.LastSeq, read.Sequence), payments
	more = read.Sequence < info.State.LastSeq
	if !more && err == nil {
		f.now.Whole = f.now.At
	}
	return more, err
}

// events stores the next events in the index.
func (f *follower) events(ctx context.Context, orders jetstream.Stream, read index.Position) (index.Position, error) {
	var batch []index.Payment
	began, full := time.Now(), false
	last, err := stream.Each(ctx, orders, stream.All, read.Sequence, func(raw *jetstream.RawStreamMsg) (bool, error) {
		if p, ok := f.entry(raw); ok {
			batch = append(batch, p)
		}
		read.Sequence = raw.Sequence
		full = len(batch) >= followBatch || time.Since(began) >= followFor
		return !full, nil
	})
	read.Sequence = max(read.Sequence, last)
	if err != nil {
		return read, err
	}
	if !full { // The last messages may have been removed; their sequences were read as well.
		read.Sequence = max(read.Sequence, orders.CachedInfo().State.LastSeq)
	}
	if read.Sequence == 0 {
		return read, nil
	}
	return read, f.Index.Put(batch, read)
}

// entry is what the index keeps of an event. ok is false for what was forgotten, and for what
// does not decode: the page of its payment shows that.
func (f *follower) entry(raw *jetstream.RawStreamMsg) (p index.Payment, ok bool) {
	on, err := subject.ParseEvent(raw.Subject)
	var e order.Event
	if err != nil || json.Unmarshal(raw.Data, &e) != nil {
		return p, false
	}
	p = index.Payment{
		Unit: on.Unit, Order: on.Order, Kind: e.Kind, Status: on.Status, At: raw.Time,
		Sequence: raw.Sequence, Transition: e.Transition,
	}
	if e.ProviderReference != nil {
		p.Reference = f.Tokens.Token(*e.ProviderReference)
	}
	if e.Amount != nil {
		p.Currency, p.Value, p.Refunded = e.Amount.Currency, e.Amount.Value, e.Amount.Refunded
	}
	f.took(raw.Time, e)
	return p, !f.isForgotten(p)
}

// took notes how long an event took from its webhook, whose id has the time of its arrival.
func (f *follower) took(at time.Time, e order.Event) {
	if e.Notification == nil || f.Now().Sub(at) > latencyKept {
		return
	}
	id, err := uuid.Parse(*e.Notification)
	if err != nil || id.Version() != 7 {
		return
	}
	seconds, nanos := id.Time().UnixTime()
	took := max(at.Sub(time.Unix(seconds, nanos)), 0)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recent = append(f.recent, latency{at, took})
	if len(f.recent) > latencies {
		f.recent = slices.Delete(f.recent, 0, len(f.recent)-latencies)
	}
}

// isForgotten reports whether the last event of an entry is of a payment's time before it was
// erased, or of the time after it in which what is said of it is refused.
func (f *follower) isForgotten(p index.Payment) bool {
	if len(f.forgotten) == 0 {
		return false
	}
	erased, ok := f.forgotten[index.ForgottenSubject(f.Tokens, p.Unit)]
	return ok && p.At.Before(erased.at.Add(operator.RefusedAfterForget))
}

// forget reads the new records of FORGOTTEN, and removes what they name. again is true if the
// index was emptied, because there were records that cannot be read any more.
func (f *follower) forget(ctx context.Context, stored index.Position, payments int) (again bool, err error) {
	records, err := f.JS.Stream(ctx, subject.Forgotten)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open stream %s: %w", subject.Forgotten, err)
	}
	info := records.CachedInfo()
	lost := !stored.Created.Equal(info.Created) || info.State.FirstSeq > stored.Sequence+1
	if payments > 0 && lost && info.State.LastSeq > 0 {
		f.Log.Warn("index.reset", zap.String("cause", "unread records of FORGOTTEN are gone"))
		f.forgotten, f.known = map[string]erasure{}, index.Position{}
		if err := f.Index.Reset(); err != nil {
			return false, err
		}
		_, err := f.Index.Forget(nil, nil, index.Position{Created: info.Created, Sequence: info.State.LastSeq})
		return true, err
	}
	if !f.known.Created.Equal(info.Created) {
		f.forgotten, f.known = map[string]erasure{}, index.Position{Created: info.Created}
	}
	if f.known.Sequence < info.State.LastSeq {
		if f.known.Sequence, err = stream.Each(ctx, records, stream.All, f.known.Sequence, func(raw *jetstream.RawStreamMsg) (bool, error) {
			f.forgotten[raw.Subject] = erasure{at: raw.Time, sequence: raw.Sequence}
			return true, nil
		}); err != nil {
			return false, err
		}
		f.known.Sequence = max(f.known.Sequence, info.State.LastSeq) // The last records may have expired.
	}
	if f.known == stored {
		return false, nil
	}
	var named []subject.Waiting // What the index has not removed yet.
	for on, erased := range f.forgotten {
		if w, err := subject.ParseWaiting(on); err == nil && erased.sequence > stored.Sequence {
			named = append(named, w)
		}
	}
	f.letters.remove(func(l deadletter.Entry) bool {
		erased, ok := f.forgotten[index.ForgottenSubject(f.Tokens, l.Unit)]
		return ok && l.StoredAt.Before(erased.at.Add(operator.RefusedAfterForget))
	})
	removed, err := f.Index.Forget(named, f.isForgotten, f.known)
	if removed > 0 {
		f.Log.Info("index.forgotten", zap.Int("payments", removed))
	}
	return false, err
}

// retain removes what sweep has removed from ORDERS, if it removes anything.
func (f *follower) retain() error {
	if f.RemoveAfter == 0 || f.Now().Sub(f.removed) < removeEvery {
		return nil
	}
	n, err := f.Index.RemoveBefore(f.Now().Add(-f.RemoveAfter), followBatch)
	if n < followBatch {
		f.removed = f.Now()
	}
	return err
}
