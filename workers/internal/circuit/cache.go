package circuit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"arauto/deploy/runtime/stream"
	"arauto/schemas/record"
	"arauto/schemas/subject"
)

// Options say how long an open circuit breaker waits.
type Options struct {
	First   time.Duration // The time from opening to the first probe; each failed probe doubles it.
	Longest time.Duration // The longest time between two probes.
	Expiry  time.Duration // How long a probe may take before another worker may probe.
	Spread  time.Duration // The shortest time over which the deferred look-ups are spread.
	Name    string        // The name of this worker in records.
	Now     func() time.Time
}

// Defaults returns the options of production for a worker of that name. timeout is how
// long one look-up may take. All are guesses: a credential is mended within minutes at
// the soonest.
func Defaults(name string, timeout time.Duration) Options {
	return Options{
		First: 5 * time.Second, Longest: time.Minute, Expiry: timeout + 10*time.Second,
		Spread: 10 * time.Second, Name: name, Now: time.Now,
	}
}

// longestSpread bounds over how long the deferred look-ups are spread after the
// credential is mended. A guess: merchants wait at most that long for the last of them.
const longestSpread = 5 * time.Minute

// Cache is what one worker knows of the circuit breakers, kept up to date by Run. It is
// safe for concurrent use. In a nil Cache every circuit is closed.
type Cache struct {
	Options
	store   *Store
	metrics *Metrics
	log     *zap.Logger

	mu      sync.Mutex
	records map[key]entry // The latest record of each account.
	opening map[key]bool  // This worker met a refused credential and is writing the record.
}

type key struct{ provider, account string }

// NewCache reads all records of b and returns the cache.
func NewCache(ctx context.Context, b *Store, o Options, m *Metrics, log *zap.Logger) (*Cache, error) {
	v := &Cache{Options: o, store: b, metrics: m, log: log, records: map[key]entry{}, opening: map[key]bool{}}
	return v, v.refresh(ctx)
}

// refreshEvery is how often all records are read: a change that was republished while
// this process was disconnected is known within it. A guess.
const refreshEvery = 2 * time.Second

// Run keeps the cache up to date until ctx ends. It fails only if it cannot subscribe.
func (v *Cache) Run(ctx context.Context) error {
	changes := make(chan *nats.Msg, 256)
	subscription, err := v.store.js.Conn().ChanSubscribe(subject.CircuitChanged(subject.Any, subject.Any), changes)
	if err != nil {
		return fmt.Errorf("listen to circuits: %w", err)
	}
	defer func() {
		if err := subscription.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			v.log.Warn("circuit.unsubscribe_failed", zap.Error(err))
		}
	}()
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		if err := v.refresh(ctx); err != nil && ctx.Err() == nil {
			v.log.Warn("circuit.read_failed", zap.Error(err))
		}
		if !v.listen(ctx, changes, ticker.C) {
			return nil
		}
	}
}

// listen takes republished records in until all are to be read again. more is false
// once ctx has ended.
func (v *Cache) listen(ctx context.Context, changes <-chan *nats.Msg, refresh <-chan time.Time) (more bool) {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-refresh:
			return true
		case m := <-changes:
			e, err := republished(m)
			if err != nil {
				v.log.Error("circuit.decode_failed", zap.String("subject", m.Subject), zap.Error(err))
				continue
			}
			v.update(e)
		}
	}
}

// republished decodes a record as the broker republishes it.
func republished(m *nats.Msg) (entry, error) {
	sequence, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return entry{}, fmt.Errorf("read sequence: %w", err)
	}
	e := entry{sequence: sequence}
	if err := json.Unmarshal(m.Data, &e.Circuit); err != nil {
		return entry{}, fmt.Errorf("decode circuit: %w", err)
	}
	if m.Subject != subject.CircuitChanged(e.Provider, e.Account) {
		return entry{}, errors.New("decode circuit: the record names another account than the subject")
	}
	return e, nil
}

// refresh reads every record. If a known record is missing, or has a lower sequence
// now, and no newer record arrived during the read, then CIRCUITS was recreated, and
// the record that was read counts.
func (v *Cache) refresh(ctx context.Context) error {
	v.mu.Lock()
	before := maps.Clone(v.records)
	v.mu.Unlock()
	entries, err := v.store.entries(ctx)
	if err != nil {
		return err
	}
	read := map[key]entry{}
	for _, e := range entries {
		v.update(e)
		read[key{e.Provider, e.Account}] = e
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, was := range before {
		now := read[k]
		if now.sequence >= was.sequence || v.records[k].sequence != was.sequence {
			continue
		}
		if now.sequence == 0 {
			now.Circuit = record.Circuit{Provider: k.provider, Account: k.account, State: record.CircuitClosed}
		}
		v.set(now)
	}
	return nil
}

// update takes a record in unless a later one is known.
func (v *Cache) update(e entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.sequence > v.records[key{e.Provider, e.Account}].sequence {
		v.set(e)
	}
}

// set makes a record the known one. v.mu is held.
func (v *Cache) set(e entry) {
	k := key{e.Provider, e.Account}
	if was := v.records[k].State; was != e.State {
		v.log.Info("circuit.changed", zap.String("provider", e.Provider), zap.String("account", e.Account),
			zap.String("state", string(e.State)), zap.String("cause", e.Cause), zap.String("by", e.By))
	}
	v.records[k] = e
	v.metrics.state(e.Circuit)
}

// Permit is what Acquire decided about one look-up. The zero Permit allows it.
type Permit struct {
	Denied bool          // The look-up must not be made now.
	Wait   time.Duration // If denied: until the next try.
	Cause  string        // If denied: why the circuit is open.

	probe     bool
	decidedBy entry // The record that led to the decision.
}

// Probe reports whether the look-up probes an open circuit breaker.
func (p Permit) Probe() bool { return p.probe }

// Control reports whether the probe should ask about a payment that the provider has
// answered before. Every second probe does not, because the provider may by now refuse
// that very payment.
func (p Permit) Control() bool { return p.probe && p.decidedBy.Probes%2 == 1 }

// Acquire says whether a payment of the account may be looked up, as far as this worker
// knows. jitter, from 0 to 1, spreads the deferred look-ups, so that they are not all
// due when the credential is mended.
func (v *Cache) Acquire(provider, account string, jitter float64) Permit {
	if v == nil {
		return Permit{}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	k := key{provider, account}
	e, now := v.records[k], v.Now()
	if v.opening[k] {
		return Permit{Denied: true, Cause: causeCredential, Wait: v.First + jittered(v.Spread, jitter)}
	}
	return v.decide(e, now, jitter)
}

// decide says what a record allows.
func (v *Cache) decide(e entry, now time.Time, jitter float64) Permit {
	switch {
	case e.State == "" || e.State == record.CircuitClosed:
		return Permit{decidedBy: e}
	case e.NextProbe == nil:
		return Permit{Denied: true, Cause: e.Cause, Wait: v.Spread + jittered(v.spreadWindow(e, now), jitter)}
	case !now.Before(*e.NextProbe):
		return Permit{probe: true, Cause: e.Cause, decidedBy: e}
	}
	return Permit{Denied: true, Cause: e.Cause, Wait: min(e.NextProbe.Sub(now), v.Longest) + jittered(v.spreadWindow(e, now), jitter)}
}

// spreadWindow is the time over which deferred look-ups are spread. It grows with how
// long the circuit has been open, because each deferral costs the broker a write.
func (v *Cache) spreadWindow(e entry, now time.Time) time.Duration {
	return min(max(v.Spread, now.Sub(e.Since)/4), longestSpread)
}

// jittered is a share of a window.
func jittered(over time.Duration, jitter float64) time.Duration {
	return time.Duration(jitter * float64(over))
}

// AcquireProbe must be called with a permit right before its look-up. If it is a probe,
// the half-open record is written: of all workers that try, one keeps its permit, and
// the others are denied.
func (v *Cache) AcquireProbe(ctx context.Context, p Permit, jitter float64) (Permit, error) {
	if !p.probe {
		return p, nil
	}
	c := p.decidedBy.Circuit
	until := v.Now().Add(v.Expiry).UTC()
	c.State, c.NextProbe, c.Probes, c.By = record.CircuitHalfOpen, &until, c.Probes+1, v.Name
	e, err := v.store.write(ctx, c, p.decidedBy.sequence)
	if stream.IsConflict(err) {
		return Permit{Denied: true, Cause: c.Cause, Wait: v.First + jittered(v.Spread, jitter)}, v.readAgain(ctx, c.Provider, c.Account)
	}
	if err != nil {
		return p, err
	}
	v.update(e)
	p.decidedBy = e
	return p, nil
}
